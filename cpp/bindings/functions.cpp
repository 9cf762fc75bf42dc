// Module-level functions: configuration, threads, and the parts that tests look at alone.
#include <array>
#include <iterator>
#include <string_view>

#include "bindings/handle.h"
#include "bindings/threads.h"
#include "core/architecture.h"
#include "core/initialize.h"
#include "core/names.h"
#include "core/random.h"
#include "core/roofline.h"
#include "core/threads.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <unistd.h>
#endif

namespace chainrule::python {
namespace {

py::object epoch_permutation(std::uint64_t seed, std::uint64_t epoch, std::size_t n) {
  const std::vector<std::size_t> order = permutation(seed, epoch, n);
  npy_intp dims[1] = {static_cast<npy_intp>(n)};
  auto array = py::reinterpret_steal<py::object>(PyArray_SimpleNew(1, dims, NPY_INT64));
  if (!array) throw py::error_already_set();
  auto* const data = static_cast<std::int64_t*>(PyArray_DATA(as_array(array)));
  for (std::size_t i = 0; i < n; ++i) data[i] = static_cast<std::int64_t>(order[i]);
  return array;
}

std::uint32_t word(const py::sequence& words, std::size_t i) {
  return py::cast<std::uint32_t>(py::object(words[i]));
}

py::tuple philox(const py::sequence& key, const py::sequence& counter) {
  if (key.size() != 2 || counter.size() != 4)
    throw py::value_error("philox4x32 takes a key of 2 and a counter of 4 words");
  const PhiloxBlock block =
      philox4x32({word(key, 0), word(key, 1)},
                 {word(counter, 0), word(counter, 1), word(counter, 2), word(counter, 3)});
  return py::make_tuple(block[0], block[1], block[2], block[3]);
}

template <class T>
void run_elementary(ElementaryFunction function, PyArrayObject* out, PyArrayObject* x) {
  kernels<T>().elementary(function, static_cast<T*>(PyArray_DATA(out)),
                          static_cast<const T*>(PyArray_DATA(x)), PyArray_SIZE(x));
}

py::object elementary(const std::string& name, const py::object& x) {
  const auto function = parse_name<ElementaryFunction>(name, "elementary function");
  if (!PyArray_Check(x.ptr()) || !PyArray_ISCARRAY_RO(as_array(x)) ||
      (PyArray_TYPE(as_array(x)) != NPY_FLOAT && PyArray_TYPE(as_array(x)) != NPY_DOUBLE))
    throw py::type_error("x must be a C-contiguous float32 or float64 array");
  auto out =
      py::reinterpret_steal<py::object>(PyArray_NewLikeArray(as_array(x), NPY_CORDER, nullptr, 0));
  if (!out) throw py::error_already_set();
  if (PyArray_TYPE(as_array(x)) == NPY_FLOAT)
    run_elementary<float>(function, as_array(out), as_array(x));
  else
    run_elementary<double>(function, as_array(out), as_array(x));
  return out;
}

double measure_fma(const std::string& dtype) {
  const bool is_double = is_float64(dtype);
  const GilRelease away;
  return is_double ? fma_rate<double>() : fma_rate<float>();
}

double measure_reads(std::size_t n_bytes) {
  const GilRelease away;
  return read_rate(n_bytes);
}

template <class Enum>
py::tuple name_tuple() {
  py::tuple tuple(std::size(kNames<Enum>));
  for (std::size_t i = 0; i < tuple.size(); ++i) tuple[i] = py::str(std::string(kNames<Enum>[i]));
  return tuple;
}

// The bounds of what an activation gives, infinite where it has none.
py::tuple range_of(const std::string& activation) {
  const auto [low, high] = output_range(parse_name<Activation>(activation, "activation"));
  return py::make_tuple(low, high);
}

py::dict config() {
  std::array<std::string_view, 8> names;
  const std::size_t n = available_isas(names.data(), names.size());
  py::list isas;
  for (std::size_t i = 0; i < n; ++i) isas.append(std::string(names[i]));
  py::dict config;
  config["version"] = CHAINRULE_VERSION;
  config["isa"] = std::string(isa_name());
  config["isas"] = isas;
  config["compiler"] = CHAINRULE_COMPILER;
  config["flags"] = CHAINRULE_FLAGS;
  config["openmp"] = kThreadsOfOpenmp;
  config["num_threads"] = get_num_threads();
  config["cores"] = usable_cores();
  return config;
}

// Brings the names of the files in a folder to the disk, where that can be done. Opened and closed
// here: between two bytecodes of Python an exception could come, and the handle stay open.
void sync_folder([[maybe_unused]] const std::string& path) {
#if defined(__unix__) || defined(__APPLE__)
  const GilRelease release;
  const int folder = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (folder < 0) return;
  fsync(folder);
  close(folder);
#endif
}

}  // namespace

void bind_functions(py::module_& module) {
  module.attr("ACTIVATIONS") = name_tuple<Activation>();
  module.attr("LOSSES") = name_tuple<Loss>();
  module.attr("MAX_THREADS") = kMaxThreads;
  module.attr("INITIALIZERS") = name_tuple<Initializer>();
  module.def("permutation", &epoch_permutation, py::arg("seed"), py::arg("epoch"), py::arg("n"));
  module.def("philox4x32", &philox, py::arg("key"), py::arg("counter"));
  module.def("elementary", &elementary, py::arg("name"), py::arg("x"));
  module.def(
      "set_num_threads", [](int n) { set_num_threads(checked_threads(n, "n")); }, py::arg("n"));
  module.def("get_num_threads", &get_num_threads);
  module.def(
      "check_threads", [](const py::object& threads) { parse_threads(threads.ptr()); },
      py::arg("threads"), "Raise unless a call can take so many threads; None is one of them.");
  module.def("output_range", &range_of, py::arg("activation"),
             "(the least, the greatest) number that an activation can give.");
  module.def("config", &config);
  module.def("fma_rate", &measure_fma, py::arg("dtype"),
             "Floating-point operations a second of one thread that does fma alone.");
  module.def("read_rate", &measure_reads, py::arg("n_bytes"),
             "Bytes a second at which one thread reads a buffer of n_bytes again and again.");
  module.def("sync_folder", &sync_folder, py::arg("path"),
             "Bring the names of the files in a folder to the disk; no failure is an error.");
  module.def("cgroup_cores", &cgroup_cores, py::arg("proc_self_cgroup"), py::arg("sys_fs_cgroup"));
}

}  // namespace chainrule::python
