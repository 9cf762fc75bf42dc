// predict: the hot call. A raw METH_FASTCALL method on the type, so that a conforming array meets
// no conversion machinery, no lock and no allocation but that of the result.
#include "bindings/handle.h"
#include "bindings/instances.h"
#include "bindings/threads.h"

namespace chainrule::python {
namespace {

struct Arguments {
  PyObject* x = nullptr;
  PyObject* out = nullptr;  // null: a fresh array
  int threads = 0;

  Arguments(PyObject* const* args, Py_ssize_t n_args) {
    if (n_args > 2)
      throw py::type_error("predict takes x and out by position, got " + std::to_string(n_args) +
                           " positional arguments; threads is keyword-only");
    if (n_args > 0) x = args[0];
    if (n_args > 1) out = args[1];
  }

  void set(PyObject* name, PyObject* value) {
    const auto is = [&](const char* text) {
      return PyUnicode_CompareWithASCIIString(name, text) == 0;
    };
    if (is("out") && out == nullptr)
      out = value;
    else if (is("x") && x == nullptr)
      x = value;
    else if (is("threads"))
      threads = parse_threads(value);
    else
      throw py::type_error("predict got an unexpected or repeated argument '" +
                           py::cast<std::string>(py::handle(name)) +
                           "'; it takes x, out and threads");
  }
};

// True for an ndarray (no subclass) of T that lies in one piece, one row or several.
template <class T>
bool is_plain(PyObject* object, std::size_t columns, int flags) {
  if (!PyArray_CheckExact(object)) return false;
  PyArrayObject* const array = as_array(object);
  const int ndim = PyArray_NDIM(array);
  return PyArray_TYPE(array) == kTypenum<T> && PyArray_FLAGSWAP(array, flags) &&
         (ndim == 1 || ndim == 2) &&
         static_cast<std::size_t>(PyArray_DIM(array, ndim - 1)) == columns;
}

bool are_apart(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto* const first = static_cast<const char*>(a);
  const auto* const second = static_cast<const char*>(b);
  return first + a_bytes <= second || second + b_bytes <= first;
}

// The call as it mostly is: plain arrays apart from each other, little work, nobody trains. Null,
// and nothing has happened, where it is another.
template <class T>
PyObject* predict_plain(const Network<T>& network, Handle& handle, const Arguments& arguments) {
  const Layout& layout = network.layout;
  const std::size_t n_inputs = layout.n_inputs();
  const std::size_t n_outputs = layout.n_outputs();
  if (!is_plain<T>(arguments.x, n_inputs, NPY_ARRAY_CARRAY_RO)) return nullptr;
  PyArrayObject* const x = as_array(arguments.x);
  const bool is_vector = PyArray_NDIM(x) == 1;
  const std::size_t rows = is_vector ? 1 : static_cast<std::size_t>(PyArray_DIM(x, 0));
  if (reads_without_gil(handle, layout.work(rows))) return nullptr;
  py::object fresh;
  PyObject* out = arguments.out;
  if (out == nullptr) {
    fresh = new_array(kTypenum<T>, rows, n_outputs, is_vector);
    out = fresh.ptr();
  } else {
    const std::size_t bytes = rows * n_outputs * sizeof(T);
    if (!is_plain<T>(out, n_outputs, NPY_ARRAY_CARRAY) ||
        PyArray_NDIM(as_array(out)) != PyArray_NDIM(x) ||
        (!is_vector && PyArray_DIM(as_array(out), 0) != PyArray_DIM(x, 0)) ||
        !are_apart(PyArray_DATA(as_array(out)), bytes, PyArray_DATA(x),
                   rows * n_inputs * sizeof(T)) ||
        !are_apart(PyArray_DATA(as_array(out)), bytes, network.parameters.data(),
                   layout.size * sizeof(T)))
      return nullptr;
  }
  predict(network, {static_cast<const T*>(PyArray_DATA(x)), static_cast<std::ptrdiff_t>(n_inputs)},
          static_cast<T*>(PyArray_DATA(as_array(out))), static_cast<std::ptrdiff_t>(n_outputs),
          rows, arguments.threads);
  return fresh ? fresh.release().ptr() : py::handle(out).inc_ref().ptr();
}

// Any call.
template <class T>
[[gnu::noinline]] PyObject* predict_any(const Network<T>& network, Handle& handle,
                                        const Arguments& arguments) {
  const Layout& layout = network.layout;
  const std::size_t n_outputs = layout.n_outputs();
  const Input x = view_direct_samples<T>(arguments.x, layout.n_inputs(), "x");
  py::object out;
  if (arguments.out != nullptr) {
    check_out(arguments.out, x, n_outputs, kTypenum<T>);
    if (touches(arguments.out, network.parameters.data(), layout.size * sizeof(T)))
      throw py::value_error(
          "out overlaps the parameters of the network, which it would change: give it memory of "
          "its own");
    out = py::reinterpret_borrow<py::object>(arguments.out);
  } else {
    out = new_array(kTypenum<T>, x.matrix.rows, n_outputs, x.is_vector);
  }
  T* const result = static_cast<T*>(PyArray_DATA(as_array(out)));
  const double work = work_of(layout, x.matrix);
  Pin x_pin, out_pin;
  if (reads_without_gil(handle, work)) {
    x_pin = Pin(x.array);
    out_pin = Pin(out);
  }
  read_network(handle, work, [&] {
    if (x.matrix.is_sparse())
      predict_sparse(network, x.matrix, result, static_cast<std::ptrdiff_t>(n_outputs),
                     arguments.threads);
    else
      predict(network, direct_rows<T>(x.matrix), result, static_cast<std::ptrdiff_t>(n_outputs),
              x.matrix.rows, arguments.threads);
  });
  return out.release().ptr();
}

// What both ways to call have in common; `set_names` passes the keyword arguments on.
template <class H, class SetNames>
PyObject* call(PyObject* self, PyObject* const* args, Py_ssize_t n_args, SetNames set_names) {
  try {
    H* const handle = static_cast<H*>(value_of(self));
    if (handle == nullptr) refuse_uninitialized();
    Arguments arguments(args, n_args);
    set_names(arguments);
    if (arguments.x == nullptr) throw py::type_error("predict needs x");
    if (arguments.out == Py_None) arguments.out = nullptr;
    return handle->visit([&](auto& typed) {
      PyObject* const result = predict_plain(typed.network, *handle, arguments);
      return result != nullptr ? result : predict_any(typed.network, *handle, arguments);
    });
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, kNoMemory);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

template <class H>
PyObject* predict_method(PyObject* self, PyObject* const* args, Py_ssize_t n_args,
                         PyObject* names) {
  return call<H>(self, args, n_args, [&](Arguments& arguments) {
    const Py_ssize_t n_names = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < n_names; ++i)
      arguments.set(PyTuple_GET_ITEM(names, i), args[n_args + i]);
  });
}

// net(x): tp_call receives a tuple and a dict.
template <class H>
PyObject* call_slot(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject* const* const items = &PyTuple_GET_ITEM(args, 0);
  return call<H>(self, items, PyTuple_GET_SIZE(args), [&](Arguments& arguments) {
    PyObject* name = nullptr;
    PyObject* value = nullptr;
    Py_ssize_t at = 0;
    while (keywords != nullptr && PyDict_Next(keywords, &at, &name, &value) != 0)
      arguments.set(name, value);
  });
}

constexpr const char* kPredictDoc = R"(predict($self, x, out=None, *, threads=None)
--

a^L for the samples x: a^l = g^l(W^l a^{l-1} + b^l), a^0 = x.

Parameters
----------
x : array_like or sparse matrix, shape (n, n_0) or (n_0,)
    Samples; a one-dimensional x is one sample. A native array of the network's dtype whose rows are
    contiguous is read where it lies; other real arrays, lists and frames are converted. A sparse
    matrix of SciPy gives the bits of its dense copy, in a time that follows its stored elements;
    CSR with sorted columns is read where it lies, other formats are converted.
out : ndarray, shape (n, n_L) or (n_L,), optional
    Where the result goes: C-contiguous, of the network's dtype, sharing no memory with x.
threads : int, optional
    Threads for this call; by default `chainrule.get_num_threads()` when the work is worth it.

Returns
-------
ndarray, shape (n, n_L) or (n_L,)
    The outputs; `out` itself if given. A row's bits depend neither on the other rows nor on the
    number of threads or the processor.

Raises
------
TypeError
    x is complex, of objects or strings, or masked; out has another dtype.
ValueError
    A shape does not fit, out is read-only, not contiguous or overlaps x, or the arrays of a sparse
    matrix do not describe one.
)";

}  // namespace

template <class H>
py::custom_type_setup predict_methods() {
  static PyMethodDef methods[] = {
      {"predict", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&predict_method<H>)),
       METH_FASTCALL | METH_KEYWORDS, kPredictDoc},
      {nullptr, nullptr, 0, nullptr}};
  return py::custom_type_setup([](PyHeapTypeObject* heap_type) {
    heap_type->ht_type.tp_new = &new_instance;
    heap_type->ht_type.tp_methods = methods;
    heap_type->ht_type.tp_call = &call_slot<H>;
  });
}

template py::custom_type_setup predict_methods<PyNetwork>();
template py::custom_type_setup predict_methods<PyPredictor>();

}  // namespace chainrule::python
