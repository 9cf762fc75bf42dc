#include "bindings/numpy_view.h"

#include <cmath>
#include <memory>
#include <optional>

#include "bindings/gil.h"

namespace chainrule::python {
namespace {

std::string dtype_text(PyArrayObject* array) {
  return py::str(py::handle(reinterpret_cast<PyObject*>(PyArray_DESCR(array))));
}

std::optional<ElementType> element_type(PyArrayObject* array) {
  if (!PyArray_ISALIGNED(array) || !PyArray_ISNOTSWAPPED(array)) return std::nullopt;
  const auto size = PyArray_ITEMSIZE(array);
  const auto by_size = [&](ElementType one, ElementType two, ElementType four, ElementType eight) {
    return size == 1 ? one : size == 2 ? two : size == 4 ? four : eight;
  };
  const int type = PyArray_TYPE(array);
  if (PyTypeNum_ISBOOL(type)) return ElementType::boolean;
  if (PyTypeNum_ISUNSIGNED(type))
    return by_size(ElementType::uint8, ElementType::uint16, ElementType::uint32,
                   ElementType::uint64);
  if (PyTypeNum_ISSIGNED(type))
    return by_size(ElementType::int8, ElementType::int16, ElementType::int32, ElementType::int64);
  if (type == NPY_FLOAT) return ElementType::float32;
  if (type == NPY_DOUBLE) return ElementType::float64;
  return std::nullopt;
}

py::object converted(const py::object& array, int typenum, bool convert, const char* name) {
  if (!convert)
    throw py::type_error(std::string(name) + " has dtype " + dtype_text(as_array(array)) +
                         " (or is unaligned or byte-swapped), expected an aligned native array");
  // What overflows becomes infinite, as in the core's own conversions, and is no warning.
  const py::object quiet = py::module_::import("numpy").attr("errstate")(py::arg("all") = "ignore");
  PyObject* result = nullptr;
  or_stay([&] {
    PyObject* const entered = PyObject_CallMethod(quiet.ptr(), "__enter__", nullptr);
    if (entered == nullptr) return;
    Py_DECREF(entered);
    result = PyArray_FromArray(
        as_array(array), PyArray_DescrFromType(typenum),
        NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(PyObject_CallMethod(quiet.ptr(), "__exit__", "OOO", Py_None, Py_None, Py_None));
    PyErr_Restore(type, value, traceback);
  });
  auto copy = py::reinterpret_steal<py::object>(result);
  if (!copy) throw py::error_already_set();
  return copy;
}

// Whether an object has numbers that numpy.asarray would not see.
bool lends_by_dlpack_alone(PyObject* object) {
  const py::handle type(reinterpret_cast<PyObject*>(Py_TYPE(object)));
  if (!py::hasattr(type, "__dlpack__")) return false;
  for (const char* other : {"__array__", "__array_interface__", "__array_struct__"})
    if (py::hasattr(py::handle(object), other)) return false;
  return true;
}

py::object from_dlpack(PyObject* object, const char* name) {
  const py::object lend = py::module_::import("numpy").attr("from_dlpack");
  PyObject* result = nullptr;
  or_stay([&] { result = PyObject_CallOneArg(lend.ptr(), object); });
  if (result != nullptr) return py::reinterpret_steal<py::object>(result);
  const py::error_already_set reason;
  if (!reason.matches(PyExc_BufferError) && !reason.matches(PyExc_RuntimeError)) throw reason;
  throw py::type_error(std::string(name) + " is a " + Py_TYPE(object)->tp_name +
                       " that NumPy cannot read (" +
                       py::cast<std::string>(py::str(reason.value())) +
                       "), expected real numbers in the memory of the CPU");
}

// The addresses between which all elements of an array lie.
struct Extent {
  const char* low;
  const char* high;

  explicit Extent(PyArrayObject* array) : low(PyArray_BYTES(array)), high(low) {
    if (PyArray_SIZE(array) == 0) return;
    for (int i = 0; i < PyArray_NDIM(array); ++i) {
      const npy_intp reach = (PyArray_DIM(array, i) - 1) * PyArray_STRIDE(array, i);
      (reach < 0 ? low : high) += reach;
    }
    high += PyArray_ITEMSIZE(array);
  }
};

// A matrix over a one- or two-dimensional array; one dimension is a row, or a column.
Matrix as_matrix(PyArrayObject* array, ElementType type, bool vector_is_column) {
  Matrix matrix;
  matrix.data = reinterpret_cast<const std::byte*>(PyArray_DATA(array));
  matrix.type = type;
  const auto size = [&](int i) { return static_cast<std::size_t>(PyArray_DIM(array, i)); };
  if (PyArray_NDIM(array) == 0) {
    matrix.rows = matrix.columns = 1;
  } else if (PyArray_NDIM(array) == 2) {
    matrix.rows = size(0);
    matrix.columns = size(1);
    matrix.row_stride = PyArray_STRIDE(array, 0);
    matrix.column_stride = PyArray_STRIDE(array, 1);
  } else if (vector_is_column) {
    matrix.rows = size(0);
    matrix.columns = 1;
    matrix.row_stride = PyArray_STRIDE(array, 0);
  } else {
    matrix.rows = 1;
    matrix.columns = size(0);
    matrix.column_stride = PyArray_STRIDE(array, 0);
  }
  return matrix;
}

// What makes labels of an array that may be meant as such; nothing where it cannot be.
std::string label_mend(PyArrayObject* y, const Layout& layout, std::size_t rows, bool vector) {
  if (layout.loss != Loss::cross_entropy) return "";
  const int ndim = PyArray_NDIM(y);
  const std::size_t n = static_cast<std::size_t>(PyArray_SIZE(y));
  const bool column = ndim == 2 && PyArray_DIM(y, 1) == 1;
  if (n != (vector ? 1 : rows) || (vector ? ndim > 1 : ndim != 1 && !column)) return "";
  const std::string cast = PyTypeNum_ISFLOAT(PyArray_TYPE(y)) ? ".astype(int)" : "";
  if (vector) return "; for a label pass int(y)";
  return column ? "; for labels pass y.ravel()" + cast : "; for labels pass y" + cast;
}

[[noreturn]] void refuse_targets(PyArrayObject* y, const Layout& layout, std::size_t rows,
                                 bool vector) {
  const std::string n = std::to_string(layout.n_outputs());
  const std::string samples = std::to_string(rows);
  std::string expected = vector ? "(" + n + ",)" : "(" + samples + ", " + n + ")";
  if (layout.loss == Loss::cross_entropy)
    expected +=
        vector ? ", or one integer label" : ", or integer labels of shape (" + samples + ",)";
  else if (layout.n_outputs() == 1)
    expected += vector ? ", or one number" : ", or (" + samples + ",)";
  throw py::value_error("y has shape " + shape_text(y) + " and dtype " + dtype_text(y) +
                        ", expected shape " + expected + "; nothing is broadcast" +
                        label_mend(y, layout, rows, vector));
}

// True where a row of `object`, if that is an array of one or two dimensions, touches `out`.
bool overlaps(PyArrayObject* out, PyObject* object) {
  if (!PyArray_Check(object) || PyArray_NDIM(as_array(object)) == 0) return false;
  PyArrayObject* const array = as_array(object);
  const int last = PyArray_NDIM(array) - 1;
  const npy_intp rows = last == 0 ? 1 : PyArray_DIM(array, 0);
  const npy_intp row_stride = last == 0 ? 0 : PyArray_STRIDE(array, 0);
  const npy_intp reach = (PyArray_DIM(array, last) - 1) * PyArray_STRIDE(array, last);
  const char* const begin = PyArray_BYTES(out);
  const char* const end = begin + PyArray_NBYTES(out);
  for (npy_intp i = 0; i < rows; ++i) {
    const char* const row = PyArray_BYTES(array) + i * row_stride;
    const char* const low = reach < 0 ? row + reach : row;
    const char* const high = (reach < 0 ? row : row + reach) + PyArray_ITEMSIZE(array);
    if (low < end && begin < high) return true;
    if (row_stride == 0) break;
  }
  return false;
}

}  // namespace

Matrix readable_matrix(py::object& array, int typenum, bool convert, const char* name,
                       bool vector_is_column) {
  auto type = element_type(as_array(array));
  if (!type) {
    array = converted(array, typenum, convert, name);
    type = element_type(as_array(array));
  }
  return as_matrix(as_array(array), *type, vector_is_column);
}

bool touches(PyObject* array, const void* begin, std::size_t bytes) {
  const Extent extent(as_array(array));
  const char* const first = static_cast<const char*>(begin);
  return extent.low < first + bytes && first < extent.high;
}

std::string shape_text(PyArrayObject* array) {
  std::string text = "(";
  for (int i = 0; i < PyArray_NDIM(array); ++i)
    text += (i > 0 ? ", " : "") + std::to_string(PyArray_DIM(array, i));
  return text + (PyArray_NDIM(array) == 1 ? ",)" : ")");
}

py::object real_array(PyObject* object, const char* name) {
  py::object array;
  if (PyArray_Check(object)) {
    array = py::reinterpret_borrow<py::object>(object);
  } else if (lends_by_dlpack_alone(object)) {
    array = from_dlpack(object, name);
  } else if (is_sparse(object)) {
    throw py::type_error(std::string(name) + " is a sparse matrix, which is not taken here: pass " +
                         name + ".toarray()");
  } else {
    array = py::reinterpret_steal<py::object>(
        or_stay([&] { return PyArray_FromAny(object, nullptr, 0, 0, 0, nullptr); }));
    if (!array) throw py::error_already_set();
  }
  if (!PyArray_CheckExact(array.ptr()) && py::hasattr(array, "mask"))
    throw py::type_error(std::string(name) +
                         " is a masked array, whose mask would be lost: fill it first, as in " +
                         name + ".filled(0)");
  const int type = PyArray_TYPE(as_array(array));
  const bool real = PyTypeNum_ISBOOL(type) || PyTypeNum_ISINTEGER(type) || PyTypeNum_ISFLOAT(type);
  if (!real)
    throw py::type_error(std::string(name) + " must hold real numbers, got dtype " +
                         dtype_text(as_array(array)) + "; convert it with " + name +
                         ".astype(numpy.float32)");
  return array;
}

Input view_rows(PyObject* object, std::size_t columns, int typenum, const char* name,
                bool convert) {
  Input input;
  input.given = py::reinterpret_borrow<py::object>(object);
  input.array = real_array(object, name);
  const int ndim = PyArray_NDIM(as_array(input.array));
  const bool fits = (ndim == 1 || ndim == 2) && static_cast<std::size_t>(PyArray_DIM(
                                                    as_array(input.array), ndim - 1)) == columns;
  if (!fits) {
    const std::string n = std::to_string(columns);
    throw py::value_error(std::string(name) + " has shape " + shape_text(as_array(input.array)) +
                          ", expected (n, " + n + ") for n samples or (" + n + ",) for one");
  }
  input.is_vector = ndim == 1;
  input.matrix = readable_matrix(input.array, typenum, convert, name, false);
  return input;
}

template <class T>
Input view_direct_samples(PyObject* object, std::size_t columns, const char* name) {
  Input input = view_samples(object, columns, kTypenum<T>, name);
  if (input.matrix.is_sparse() || is_direct<T>(input.matrix)) return input;
  const std::size_t rows = input.matrix.rows;
  py::object copy = new_array(kTypenum<T>, rows, columns, input.is_vector);
  T* const data = static_cast<T*>(PyArray_DATA(as_array(copy)));
  for (std::size_t i = 0; i < rows; ++i) read_row<T>(input.matrix, i, data + i * columns);
  input.array = std::move(copy);
  input.matrix = readable_matrix(input.array, kTypenum<T>, true, name, false);
  return input;
}

TargetInput view_targets(PyObject* object, const Layout& layout, std::size_t rows, bool vector,
                         int typenum, bool convert, std::size_t first_row) {
  TargetInput input;
  input.array = real_array(object, "y");
  PyArrayObject* const y = as_array(input.array);
  const int ndim = PyArray_NDIM(y);
  const auto dim = [&](int i) { return static_cast<std::size_t>(PyArray_DIM(y, i)); };
  const bool integer = PyTypeNum_ISINTEGER(PyArray_TYPE(y)) || PyTypeNum_ISBOOL(PyArray_TYPE(y));
  const std::size_t n = layout.n_outputs();
  const bool one_per_sample = vector ? ndim == 0 : ndim == 1 && dim(0) == rows;
  input.targets.labels = layout.loss == Loss::cross_entropy && integer && one_per_sample;
  const bool values =
      vector ? (ndim == 1 && dim(0) == n) || (n == 1 && one_per_sample)
             : (ndim == 2 && dim(0) == rows && dim(1) == n) || (n == 1 && one_per_sample);
  if (!input.targets.labels && !values) refuse_targets(y, layout, rows, vector);
  input.targets.matrix = readable_matrix(input.array, input.targets.labels ? NPY_INT64 : typenum,
                                         convert, "y", !vector);
  if (input.targets.labels) {
    for (std::size_t i = 0; i < rows; ++i) {
      const std::int64_t label = read_label(input.targets.matrix, i);
      if (label < 0 || static_cast<std::size_t>(label) >= n)
        throw py::value_error("the label in row " + std::to_string(first_row + i) + " of y is " +
                              std::to_string(label) + ", expected 0 ... " + std::to_string(n - 1) +
                              ": labels count the " + std::to_string(n) +
                              " outputs from 0; those that count from 1 need y - 1");
    }
  }
  return input;
}

WeightInput view_weights(PyObject* object, std::size_t rows) {
  WeightInput input;
  if (object == nullptr || object == Py_None) return input;
  const py::object array = real_array(object, "sample_weight");
  if (PyArray_NDIM(as_array(array)) != 1 ||
      static_cast<std::size_t>(PyArray_DIM(as_array(array), 0)) != rows)
    throw py::value_error("sample_weight has shape " + shape_text(as_array(array)) +
                          ", expected (" + std::to_string(rows) + ",), one weight a sample");
  input.array = converted(array, NPY_DOUBLE, true, "sample_weight");
  input.data = static_cast<const double*>(PyArray_DATA(as_array(input.array)));
  double total = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    if (!std::isfinite(input.data[i]) || input.data[i] < 0)
      throw py::value_error("sample_weight[" + std::to_string(i) + "] is " +
                            std::to_string(input.data[i]) +
                            ", expected finite weights that are not negative");
    total += input.data[i];
  }
  if (rows > 0 && !(total > 0 && std::isfinite(total)))
    throw py::value_error("sample_weight sums to " + std::to_string(total) +
                          ", expected a positive and finite sum");
  return input;
}

void check_out(PyObject* object, const Input& x, std::size_t columns, int typenum) {
  if (!PyArray_Check(object))
    throw py::type_error("out is a " + std::string(Py_TYPE(object)->tp_name) +
                         ", expected a numpy.ndarray that the result is written to");
  PyArrayObject* const out = as_array(object);
  if (PyArray_TYPE(out) != typenum || !PyArray_ISNOTSWAPPED(out))
    throw py::type_error("out has dtype " + dtype_text(out) + ", expected " +
                         (typenum == NPY_FLOAT ? "float32" : "float64") +
                         ", the dtype of the network");
  const bool fits = x.is_vector
                        ? PyArray_NDIM(out) == 1
                        : PyArray_NDIM(out) == 2 &&
                              static_cast<std::size_t>(PyArray_DIM(out, 0)) == x.matrix.rows;
  if (!fits || static_cast<std::size_t>(PyArray_DIM(out, PyArray_NDIM(out) - 1)) != columns) {
    const std::string n = std::to_string(columns);
    throw py::value_error(
        "out has shape " + shape_text(out) + ", expected " +
        (x.is_vector ? "(" + n + ",)" : "(" + std::to_string(x.matrix.rows) + ", " + n + ")"));
  }
  if (!PyArray_CheckExact(object) && py::hasattr(py::handle(object), "mask"))
    throw py::type_error("out is a masked array, whose mask would hide the result: pass out.data");
  if (!PyArray_ISCARRAY(out))
    throw py::value_error(!PyArray_ISWRITEABLE(out)
                              ? "out is read-only, expected a writable array"
                              : "out is not C-contiguous and aligned; use numpy.empty to make it");
  for (const py::object* part : {&x.given, &x.array, &x.places, &x.starts})
    if (*part && overlaps(out, part->ptr()))
      throw py::value_error("out overlaps x in memory: give it memory of its own");
}

py::object new_array(int typenum, std::size_t rows, std::size_t columns, bool vector) {
  npy_intp dims[2] = {static_cast<npy_intp>(rows), static_cast<npy_intp>(columns)};
  PyObject* const array =
      vector ? PyArray_SimpleNew(1, dims + 1, typenum) : PyArray_SimpleNew(2, dims, typenum);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

namespace {

py::object view(void* data, int typenum, int ndim, npy_intp* dims, npy_intp* strides,
                py::handle base) {
  PyObject* const array = PyArray_New(&PyArray_Type, ndim, dims, typenum, strides, data, 0,
                                      NPY_ARRAY_WRITEABLE, nullptr);
  if (array == nullptr) throw py::error_already_set();
  auto result = py::reinterpret_steal<py::object>(array);
  PyArray_UpdateFlags(as_array(array), NPY_ARRAY_UPDATE_ALL);
  if (PyArray_SetBaseObject(as_array(array), base.inc_ref().ptr()) < 0)
    throw py::error_already_set();
  return result;
}

npy_intp item_size(int typenum) { return typenum == NPY_FLOAT ? 4 : 8; }

}  // namespace

py::object weight_view(void* data, int typenum, const Layer& layer, py::handle base) {
  npy_intp dims[2] = {static_cast<npy_intp>(layer.n_out), static_cast<npy_intp>(layer.n_in)};
  npy_intp strides[2] = {item_size(typenum), item_size(typenum) * static_cast<npy_intp>(layer.ld)};
  return view(data, typenum, 2, dims, strides, base);
}

py::object vector_view(void* data, int typenum, std::size_t n, py::handle base) {
  npy_intp dims[1] = {static_cast<npy_intp>(n)};
  npy_intp strides[1] = {item_size(typenum)};
  return view(data, typenum, 1, dims, strides, base);
}

template <class T>
std::pair<py::tuple, py::tuple> parameter_views(const Layout& layout, T* data, py::handle base) {
  const std::size_t n = layout.layers.size();
  std::pair<py::tuple, py::tuple> views(py::tuple(n), py::tuple(layout.has_bias ? n : 0));
  for (std::size_t l = 0; l < n; ++l) {
    const Layer& layer = layout.layers[l];
    views.first[l] = weight_view(data + layer.weights, kTypenum<T>, layer, base);
    if (layout.has_bias)
      views.second[l] = vector_view(data + layer.bias, kTypenum<T>, layer.n_out, base);
  }
  return views;
}

Pin::Pin(py::handle array) {
  PyObject* owner = array.ptr();
  if (owner == nullptr) return;
  for (PyObject* base; (base = PyArray_BASE(as_array(owner))) != nullptr; owner = base) {
    if (PyMemoryView_Check(base)) base = PyMemoryView_GET_BASE(base);
    if (base == nullptr || !PyArray_Check(base)) break;
  }
  reference_ = py::reinterpret_steal<py::object>(PyWeakref_NewRef(owner, nullptr));
  if (!reference_) throw py::error_already_set();
}

template <class T>
py::capsule own(AlignedBuffer<T> buffer) {
  auto owner = std::make_unique<AlignedBuffer<T>>(std::move(buffer));
  py::capsule capsule(owner.get(), [](void* p) { delete static_cast<AlignedBuffer<T>*>(p); });
  owner.release();
  return capsule;
}

template Input view_direct_samples<float>(PyObject*, std::size_t, const char*);
template Input view_direct_samples<double>(PyObject*, std::size_t, const char*);
template std::pair<py::tuple, py::tuple> parameter_views<float>(const Layout&, float*, py::handle);
template std::pair<py::tuple, py::tuple> parameter_views<double>(const Layout&, double*,
                                                                 py::handle);
template py::capsule own<float>(AlignedBuffer<float>);
template py::capsule own<double>(AlignedBuffer<double>);

}  // namespace chainrule::python
