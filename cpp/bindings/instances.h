// Instances where memory is short, and whose __init__ is called again. pybind11's own code writes
// to one that could not be allocated, lets exceptions pass through the interpreter, frees the value
// of one that it could not register twice, and ignores a second __init__ without a word.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "bindings/checked_caster.h"
#include "bindings/gil.h"

namespace chainrule::python {

// tp_new.
inline PyObject* new_instance(PyTypeObject* type, PyObject*, PyObject*) noexcept {
  try {
    // Allocates at the first instance of a Python subclass: now, while there is nothing to undo.
    if (pybind11::detail::all_type_info(type).empty()) return PyErr_NoMemory();
    PyObject* const self = type->tp_alloc(type, 0);
    if (self != nullptr) reinterpret_cast<pybind11::detail::instance*>(self)->allocate_layout();
    return self;
  } catch (const std::exception&) {
    return PyErr_NoMemory();
  }
}

// What pybind11 calls to make the value of an instance.
template <class T, class... Args>
auto init(std::unique_ptr<T> (*make)(Args...)) {
  return [make](pybind11::detail::value_and_holder& place, Args... args) {
    std::unique_ptr<T> value = make(std::forward<Args>(args)...);
    place.value_ptr() = value.get();
    try {
      place.type->init_instance(place.inst, &value);
    } catch (...) {
      place.value_ptr() = nullptr;
      throw;
    }
  };
}

// Instances whose __init__ is under way; read and changed with the GIL held.
inline std::vector<PyObject*> g_being_made;

// __init__ of a type, from pybind11's own, for instances that have no value: views and other
// threads may be using a value. After an __init__ that failed it may be called again.
inline PyObject* init_once(PyObject* pybind_init, bool has_value, PyObject* self, PyObject* args,
                           PyObject* keywords) noexcept {
  const char* const name = Py_TYPE(self)->tp_name;
  if (has_value || std::ranges::find(g_being_made, self) != g_being_made.end()) {
    PyErr_Format(PyExc_TypeError,
                 "this %s is initialized already, and __init__ cannot be called a second time: "
                 "make a new %s",
                 name, name);
    return nullptr;
  }
  const Py_ssize_t n = PyTuple_GET_SIZE(args);
  PyObject* const with_self = PyTuple_New(n + 1);
  if (with_self == nullptr) return nullptr;
  PyTuple_SET_ITEM(with_self, 0, Py_NewRef(self));
  for (Py_ssize_t i = 0; i < n; ++i)
    PyTuple_SET_ITEM(with_self, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
  PyObject* result = nullptr;
  try {
    g_being_made.push_back(self);
    result = or_stay([&] { return PyObject_Call(pybind_init, with_self, keywords); });
    std::erase(g_being_made, self);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  Py_DECREF(with_self);
  return result;
}

// Defines a raw method, which must live as long as the type.
inline void def_method(const pybind11::object& type, PyMethodDef& method) {
  auto* const owner = reinterpret_cast<PyTypeObject*>(type.ptr());
  auto descriptor =
      pybind11::reinterpret_steal<pybind11::object>(PyDescr_NewMethod(owner, &method));
  if (!descriptor) throw pybind11::error_already_set();
  type.attr(method.ml_name) = descriptor;
}

// Defines __init__, as def(py::init(make), arguments...) does.
template <class T, class... Args, class... Arguments>
void def_init(pybind11::class_<T>& type, std::unique_ptr<T> (*make)(Args...),
              const Arguments&... arguments) {
  type.def("__init__", init(make), pybind11::detail::is_new_style_constructor(), arguments...);
  static PyObject* const pybind_init = pybind11::object(type.attr("__init__")).release().ptr();
  static const pybind11::detail::type_info* const info = pybind11::detail::get_type_info(typeid(T));
  static PyMethodDef method = {
      "__init__",
      reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(
          +[](PyObject* self, PyObject* args, PyObject* keywords) -> PyObject* {
            auto* const instance = reinterpret_cast<pybind11::detail::instance*>(self);
            const bool has_value = instance->get_value_and_holder(info).value_ptr() != nullptr;
            return init_once(pybind_init, has_value, self, args, keywords);
          })),
      METH_VARARGS | METH_KEYWORDS, nullptr};
  def_method(type, method);
}

// For a type whose values hold nothing that the collector could find a cycle through.
inline pybind11::custom_type_setup plain_instances() {
  return pybind11::custom_type_setup(
      [](PyHeapTypeObject* heap_type) { heap_type->ht_type.tp_new = &new_instance; });
}

// For a type whose values hold a `network`: the collector sees it, and cycles through the
// attributes of a network end.
template <class T>
pybind11::custom_type_setup holds_network() {
  return pybind11::custom_type_setup([](PyHeapTypeObject* heap_type) {
    PyTypeObject& type = heap_type->ht_type;
    type.tp_new = &new_instance;
    type.tp_flags |= Py_TPFLAGS_HAVE_GC;
    type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
      Py_VISIT(Py_TYPE(self));
      if (void* const value = value_of(self)) Py_VISIT(static_cast<T*>(value)->network.ptr());
      return 0;
    };
  });
}

}  // namespace chainrule::python
