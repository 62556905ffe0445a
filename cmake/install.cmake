# What is installed, in three components: broker, worker, and dev (the library that publishes). Packages are made of them
# in cmake/package.cmake.
include(GNUInstallDirs)

foreach(tier broker worker)
  target_link_options(tokencast-${tier} PRIVATE LINKER:-z,relro LINKER:-z,now)
  install(TARGETS tokencast-${tier} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${tier})
endforeach()

# --- the library: what writes logs and all it stands on, in one archive. Position-independent, for servers that load
# it with a module; hidden, so that such a module does not export it. There is no shared one while its ABI moves.
set_target_properties(tc_proto tc_publish PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)
add_library(tokencast STATIC $<TARGET_OBJECTS:tc_proto> $<TARGET_OBJECTS:tc_publish>)
set_target_properties(tokencast PROPERTIES LINKER_LANGUAGE C)
install(TARGETS tokencast ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)

# The public headers and what they include; under a folder of their own, since their paths are short.
set(TC_HEADER_DIR ${CMAKE_INSTALL_INCLUDEDIR}/libtokencast)
install(FILES proto/include/tokencast/error.h proto/include/tokencast/event.h proto/include/tokencast/position.h
              worker/publish/include/tokencast/publish.h DESTINATION ${TC_HEADER_DIR}/tokencast COMPONENT dev)
install(FILES proto/base/attr.h proto/base/buf.h proto/base/str.h DESTINATION ${TC_HEADER_DIR}/base COMPONENT dev)
install(FILES proto/redis/redis.h DESTINATION ${TC_HEADER_DIR}/redis COMPONENT dev)

set(TC_MSGPACK_MODULE ${MSGPACK_MODULE_NAME})
configure_file(worker/publish/tokencast.pc.in ${CMAKE_BINARY_DIR}/tokencast.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tokencast.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

if(NOT TC_PACKAGES)
  return()
endif()

# --- man pages: the options are what the programs' own --help says
if(NOT TC_SANITIZE AND NOT TC_FUZZ AND NOT CMAKE_CROSSCOMPILING)
  foreach(tier broker worker)
    set(page tokencast-${tier}.8)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/man/${page}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
      COMMAND ${PROJECT_SOURCE_DIR}/tools/manpage.sh ${PROJECT_SOURCE_DIR}/deploy/man/${page}.in
              $<TARGET_FILE:tokencast-${tier}> >${CMAKE_BINARY_DIR}/man/${page}
      DEPENDS tokencast-${tier} deploy/man/${page}.in tools/manpage.sh)
    list(APPEND TC_MAN_PAGES ${CMAKE_BINARY_DIR}/man/${page})
    install(FILES ${CMAKE_BINARY_DIR}/man/${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT ${tier})
  endforeach()
  add_custom_target(manpages ALL DEPENDS ${TC_MAN_PAGES})
endif()
install(FILES docs/examples/publish.c DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libtokencast-dev/examples
        COMPONENT dev)
install(FILES deploy/man/libtokencast.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3 COMPONENT dev)

# --- units, and the files of variables that they read
set(CONFIG_DIR ${CMAKE_INSTALL_FULL_SYSCONFDIR}/tokencast)
set(BIN_DIR ${CMAKE_INSTALL_FULL_BINDIR})
pkg_check_modules(SYSTEMD QUIET systemd)
set(TC_UNIT_DIR lib/systemd/system)
set(RESTART_PACE "RestartSec=2s")
if(SYSTEMD_FOUND AND SYSTEMD_VERSION VERSION_GREATER_EQUAL 254)
  string(APPEND RESTART_PACE "\nRestartSteps=5\nRestartMaxDelaySec=1min") # older ones know no growing pauses
endif()
file(READ deploy/systemd/sandbox.conf SANDBOX)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/deploy/systemd/sandbox.conf)

set(units ${CMAKE_BINARY_DIR}/systemd)
configure_file(deploy/systemd/tokencast-broker.service.in ${units}/tokencast-broker.service @ONLY)
configure_file(deploy/systemd/tokencast-worker.service.in ${units}/tokencast-worker.service @ONLY)
# An instance is named by its operations port, so that no two can clash.
set(OF_INSTANCE " (port %i)")
set(INSTANCE_ENV "EnvironmentFile=-${CONFIG_DIR}/worker-%i.env\n")
set(INSTANCE_ARGS " --ops-listen 127.0.0.1:%i")
configure_file(deploy/systemd/tokencast-worker.service.in ${units}/tokencast-worker@.service @ONLY)
install(FILES ${units}/tokencast-broker.service DESTINATION ${TC_UNIT_DIR} COMPONENT broker)
install(FILES ${units}/tokencast-worker.service ${units}/tokencast-worker@.service DESTINATION ${TC_UNIT_DIR}
        COMPONENT worker)
install(FILES deploy/systemd/broker.env DESTINATION ${CONFIG_DIR} COMPONENT broker)
install(FILES deploy/systemd/worker.env DESTINATION ${CONFIG_DIR} COMPONENT worker)

include(cmake/package.cmake)
