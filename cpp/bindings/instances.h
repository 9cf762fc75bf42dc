// Instances where memory is short. pybind11's own code writes to one that could not be allocated,
// lets exceptions pass through the interpreter, and frees the value of one that it could not
// register twice.
#pragma once

#include <memory>
#include <utility>

#include "bindings/checked_caster.h"

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

// __init__, as py::init(make): for def() together with is_new_style_constructor.
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
