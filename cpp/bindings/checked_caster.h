// pybind11 hands uninitialised memory to methods of an object that was made by __new__ alone.
// These casters refuse such an object with a TypeError instead. Every translation unit that binds
// or casts one of the types has to see its specialisation.
#pragma once

#include <pybind11/pybind11.h>

namespace chainrule {
struct Position;
}

namespace chainrule::python {

struct PyNetwork;
struct PyPredictor;
struct Tape;
struct OptimizerState;
struct Snapshot;
struct Combiner;
class Admission;
struct Worker;
using chainrule::Position;

// The C++ object behind `self`, or null where __init__ was never called.
inline void* value_of(PyObject* self) {
  auto* instance = reinterpret_cast<pybind11::detail::instance*>(self);
  return instance->simple_layout ? instance->simple_value_holder[0]
                                 : instance->get_value_and_holder().value_ptr();
}

[[noreturn]] inline void refuse_uninitialized() {
  throw pybind11::type_error(
      "__init__ of this object was never called: make it with its constructor");
}

template <class T>
struct CheckedCaster : pybind11::detail::type_caster_base<T> {
  bool load(pybind11::handle source, bool convert) {
    if (this->typeinfo != nullptr && PyObject_TypeCheck(source.ptr(), this->typeinfo->type) &&
        value_of(source.ptr()) == nullptr)
      refuse_uninitialized();
    return pybind11::detail::type_caster_base<T>::load(source, convert);
  }
};

}  // namespace chainrule::python

namespace pybind11::detail {

#define CHAINRULE_CHECKED(T)               \
  template <>                              \
  struct type_caster<chainrule::python::T> \
      : chainrule::python::CheckedCaster<chainrule::python::T> {};
CHAINRULE_CHECKED(PyNetwork)
CHAINRULE_CHECKED(PyPredictor)
CHAINRULE_CHECKED(Tape)
CHAINRULE_CHECKED(OptimizerState)
CHAINRULE_CHECKED(Snapshot)
CHAINRULE_CHECKED(Combiner)
CHAINRULE_CHECKED(Admission)
CHAINRULE_CHECKED(Worker)
CHAINRULE_CHECKED(Position)
#undef CHAINRULE_CHECKED

}  // namespace pybind11::detail
