# From an installed wheel: the library is built from its sources beside this file, within the
# project that asks for it and with that project's compiler.
if(NOT TARGET chainrule::chainrule)
  set(CHAINRULE_PYTHON OFF)
  add_subdirectory("${CMAKE_CURRENT_LIST_DIR}/source" "${CMAKE_BINARY_DIR}/chainrule" EXCLUDE_FROM_ALL)
endif()
