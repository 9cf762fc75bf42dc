// The only code where arrays cross between NumPy and the core: checks, views, fresh results.
// Every refusal says what was expected, what came and how to mend it.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <string>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL chainrule_numpy_api
#ifndef CHAINRULE_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "core/aligned_buffer.h"
#include "core/data.h"
#include "core/layout.h"

namespace chainrule::python {

namespace py = pybind11;

template <class T>
inline constexpr int kTypenum = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;

inline PyArrayObject* as_array(PyObject* object) {
  return reinterpret_cast<PyArrayObject*>(object);
}
inline PyArrayObject* as_array(const py::object& object) { return as_array(object.ptr()); }

// Whether an array may have elements in the `bytes` bytes from `begin` on.
bool touches(PyObject* array, const void* begin, std::size_t bytes);

// "(3, 4)"
std::string shape_text(PyArrayObject* array);

// What numpy.asarray makes of `object`; a TypeError unless its numbers are real.
py::object real_array(PyObject* object, const char* name);

// While it lives, NumPy does not move the memory of an array: ndarray.resize refuses one that has
// weak references, whatever its refcheck says. For calls that read arrays without the GIL.
class Pin {
 public:
  Pin() = default;
  explicit Pin(py::handle array);

 private:
  py::object reference_;
};

// A user's array (or whatever numpy.asarray makes one of), with what keeps it alive.
struct Input {
  py::object given;  // as the user passed it
  py::object array;  // the numbers; of a sparse matrix the stored ones
  Matrix matrix;     // one row where the array has one dimension
  bool is_vector = false;

  // Of a sparse matrix: the columns of the stored numbers, and where rows start.
  py::object places;
  py::object starts;
  std::array<Pin, 2> pins;
};

// Samples of `columns` elements: shape (n, columns), or (columns,) for one sample. The element type
// is one that the core reads; others are converted to `typenum`, unless `convert` is false: then
// they are a TypeError.
Input view_rows(PyObject* object, std::size_t columns, int typenum, const char* name,
                bool convert = true);

// Whether an object, no array, is a sparse matrix.
bool is_sparse(PyObject* object);

// As view_rows, or the rows of a sparse matrix: canonical, every index in range when it was looked
// at.
Input view_samples(PyObject* object, std::size_t columns, int typenum, const char* name,
                   bool convert = true);

// The matrix of an array in an element type that the core reads, converted where needed.
Matrix readable_matrix(py::object& array, int typenum, bool convert, const char* name,
                       bool vector_is_column);

// As view_samples, but dense ones are contiguous rows of T: converted where they are not.
template <class T>
Input view_direct_samples(PyObject* object, std::size_t columns, const char* name);

struct TargetInput {
  py::object array;
  Targets targets;
};

// y for `rows` samples (`vector`: for the one sample of a one-dimensional x), as Network.cost takes
// them. Messages count rows from `first_row`.
TargetInput view_targets(PyObject* object, const Layout& layout, std::size_t rows, bool vector,
                         int typenum, bool convert = true, std::size_t first_row = 0);

// Weights of `rows` samples: finite, none negative, not all zero; None gives null.
struct WeightInput {
  py::object array;
  const double* data = nullptr;
};
WeightInput view_weights(PyObject* object, std::size_t rows);

// Throws unless `out` is a writable, aligned, C-contiguous native array of shape (rows, columns),
// or (columns,) for a vector, that shares no memory with `x`.
void check_out(PyObject* out, const Input& x, std::size_t columns, int typenum);

py::object new_array(int typenum, std::size_t rows, std::size_t columns, bool vector);

// The (n_out, n_in) view of k-major weights, and the (n) view of a bias; `base` stays alive with
// it.
py::object weight_view(void* data, int typenum, const Layer& layer, py::handle base);
py::object vector_view(void* data, int typenum, std::size_t n, py::handle base);

// One view a layer over a buffer with the layout of the parameters: (weights, biases).
template <class T>
std::pair<py::tuple, py::tuple> parameter_views(const Layout& layout, T* data, py::handle base);

// A capsule that owns a buffer.
template <class T>
py::capsule own(AlignedBuffer<T> buffer);

}  // namespace chainrule::python
