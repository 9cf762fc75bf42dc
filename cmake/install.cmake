# cmake --install: the library for C++ programs, its header, and what find_package(chainrule) reads.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(TARGETS chainrule chainrule_core chainrule_flags EXPORT chainruleTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES cpp/include/chainrule/model.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/chainrule)
install(EXPORT chainruleTargets NAMESPACE chainrule::
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/chainrule)
configure_package_config_file(cmake/chainruleConfig.cmake.in
  "${PROJECT_BINARY_DIR}/chainruleConfig.cmake"
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/chainrule)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/chainruleConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/chainruleConfig.cmake"
  "${PROJECT_BINARY_DIR}/chainruleConfigVersion.cmake"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/chainrule)
