// Samples of sparse matrices: SciPy's, as chainrule.inputs.sparse finds their arrays.
#include <algorithm>

#include "bindings/numpy_view.h"

namespace chainrule::python {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& what) {
  throw py::value_error(std::string(name) + " is a sparse matrix " + what +
                        ": its arrays were changed by hand, and do not describe a matrix; build it "
                        "again, as with scipy.sparse.csr_matrix((values, (rows, columns)), shape)");
}

// An array of int32 or int64 in native order; others are converted.
Indices view_indices(py::object& array, const char* name, const char* part) {
  const auto usable = [&] {
    PyArrayObject* const a = as_array(array);
    return PyTypeNum_ISSIGNED(PyArray_TYPE(a)) &&
           (PyArray_ITEMSIZE(a) == 4 || PyArray_ITEMSIZE(a) == 8) && PyArray_ISCARRAY_RO(a);
  };
  if (!PyArray_Check(array.ptr()) || PyArray_NDIM(as_array(array)) != 1 ||
      !PyTypeNum_ISINTEGER(PyArray_TYPE(as_array(array))))
    refuse(name, std::string("whose ") + part + " is not a row of integers");
  if (!usable()) array = py::module_::import("numpy").attr("ascontiguousarray")(array, "int64");
  return {reinterpret_cast<const std::byte*>(PyArray_DATA(as_array(array))),
          PyArray_ITEMSIZE(as_array(array)) == 8};
}

// Whether the columns of every row rise; throws where they, or the rows' bounds, are out of range.
bool check_csr(const Matrix& matrix, const char* name) {
  const auto columns = static_cast<std::int64_t>(matrix.columns);
  // Every number is read once: another thread may be writing them.
  std::int64_t begin = matrix.starts[0];
  if (begin != 0)
    refuse(name, "whose indptr starts with " + std::to_string(begin) + ", expected 0");
  bool rises = true;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    const std::int64_t end = matrix.starts[r + 1];
    if (end < begin || end > static_cast<std::int64_t>(matrix.stored))
      refuse(name, "whose indptr goes from " + std::to_string(begin) + " to " +
                       std::to_string(end) + " in row " + std::to_string(r) +
                       ", expected rising numbers up to " + std::to_string(matrix.stored) +
                       ", the elements stored");
    std::int64_t before = -1;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t column = matrix.places[static_cast<std::size_t>(i)];
      if (column < 0 || column >= columns)
        refuse(name, "whose indices hold " + std::to_string(column) + " in row " +
                         std::to_string(r) + ", expected 0 to " + std::to_string(columns - 1));
      rises &= column > before;
      before = column;
    }
    begin = end;
  }
  return rises;
}

Input view_csr(const py::object& csr, std::size_t columns, int typenum, const char* name,
               bool convert) {
  const py::tuple shape = csr.attr("shape");
  const bool vector = shape.size() == 1;
  if (shape.size() < 1 || shape.size() > 2 ||
      shape[shape.size() - 1].cast<std::size_t>() != columns) {
    const std::string n = std::to_string(columns);
    throw py::value_error(std::string(name) + " has shape " +
                          py::cast<std::string>(py::str(shape)) + ", expected (n, " + n +
                          ") for n samples or (" + n + ",) for one");
  }
  Input input;
  input.is_vector = vector;
  input.array = real_array(csr.attr("data").ptr(), name);
  if (!PyArray_IS_C_CONTIGUOUS(as_array(input.array)))
    input.array = py::module_::import("numpy").attr("ascontiguousarray")(input.array);
  input.places = csr.attr("indices");
  input.starts = csr.attr("indptr");
  const Indices places = view_indices(input.places, name, "indices");
  const Indices starts = view_indices(input.starts, name, "indptr");
  if (PyArray_NDIM(as_array(input.array)) != 1) refuse(name, "whose data is not a row of numbers");
  Matrix matrix = readable_matrix(input.array, typenum, convert, name, false);
  matrix.stored = static_cast<std::size_t>(
      std::min(PyArray_SIZE(as_array(input.array)), PyArray_SIZE(as_array(input.places))));
  matrix.rows = vector ? 1 : shape[0].cast<std::size_t>();
  matrix.columns = columns;
  matrix.column_stride = 0;
  if (PyArray_SIZE(as_array(input.starts)) == 0 ||
      static_cast<std::size_t>(PyArray_SIZE(as_array(input.starts)) - 1) != matrix.rows)
    refuse(name, "whose indptr has " + std::to_string(PyArray_SIZE(as_array(input.starts))) +
                     " numbers, expected " + std::to_string(matrix.rows + 1) +
                     ", one more than rows");
  matrix.starts = starts;
  matrix.places = places;
  input.matrix = matrix;
  input.pins = {Pin(input.places), Pin(input.starts)};
  return input;
}

bool is_canonical(const py::object& csr) {
  const py::tuple shape = csr.attr("shape");
  const auto columns = shape[shape.size() - 1].cast<std::size_t>();
  return check_csr(view_csr(csr, columns, NPY_DOUBLE, "x", true).matrix, "x");
}

}  // namespace

bool is_sparse(PyObject* object) { return py::hasattr(py::handle(object), "tocsr"); }

Input view_samples(PyObject* object, std::size_t columns, int typenum, const char* name,
                   bool convert) {
  if (PyArray_Check(object) || !is_sparse(object))
    return view_rows(object, columns, typenum, name, convert);
  const py::module_ sparse = py::module_::import("chainrule.inputs.sparse");
  py::object csr = sparse.attr("as_csr")(py::handle(object), name);
  Input input = view_csr(csr, columns, typenum, name, convert);
  if (!check_csr(input.matrix, name)) {
    csr = sparse.attr("canonical")(csr);
    input = view_csr(csr, columns, typenum, name, convert);
    if (!check_csr(input.matrix, name)) refuse(name, "whose indices changed during the call");
  }
  input.given = py::reinterpret_borrow<py::object>(object);
  return input;
}

void bind_sparse(py::module_& module) {
  module.def("is_canonical", &is_canonical, py::arg("x"),
             "Whether the columns of every row rise; ValueError where indices are out of range.");
}

}  // namespace chainrule::python
