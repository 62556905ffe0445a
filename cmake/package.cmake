# Debian packages, one a component: tokencast-broker, tokencast-worker, libtokencast-dev. tools/package.sh makes them.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tokencast)
set(CPACK_PACKAGE_VENDOR tokencast)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package's own first line
set(CPACK_PACKAGE_CONTACT "tokencast maintainers <maintainers@tokencast.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_OUTPUT_FILE_PREFIX ${CMAKE_BINARY_DIR}/packages)
set(CPACK_STRIP_FILES TRUE)
set(CPACK_COMPONENTS_ALL broker worker dev)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION TRUE)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

set(CPACK_DEBIAN_BROKER_PACKAGE_NAME tokencast-broker)
set(CPACK_DEBIAN_BROKER_PACKAGE_SECTION net)
set(CPACK_DEBIAN_BROKER_PACKAGE_SUGGESTS "redis-server (>= 5:7.0), tokencast-worker")
set(CPACK_DEBIAN_BROKER_DESCRIPTION "streams tokens of language models to many readers
The broker follows generations in Redis Streams and relays each to any number
of HTTP clients as Server-Sent Events. A reader that was cut off comes back to
any broker and goes on at exactly the token where it was.
.
The service is neither enabled nor started when the package is installed.")

set(CPACK_DEBIAN_WORKER_PACKAGE_NAME tokencast-worker)
set(CPACK_DEBIAN_WORKER_PACKAGE_SECTION net)
set(CPACK_DEBIAN_WORKER_PACKAGE_SUGGESTS "redis-server (>= 5:7.0), tokencast-broker")
set(CPACK_DEBIAN_WORKER_DESCRIPTION "runs generations at a model server for tokencast
The worker takes generations from a queue in Redis, asks a model server with an
OpenAI-compatible or Anthropic interface, and writes the tokens into the logs
that tokencast-broker streams. Other workers go on with what one leaves behind.
.
The service is neither enabled nor started when the package is installed.")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libtokencast-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
# What the headers include and the static library stands on. Its msgpack has changed its package's name.
if(TC_MSGPACK_MODULE STREQUAL "msgpack-c")
  set(msgpack libmsgpack-c-dev)
else()
  set(msgpack libmsgpack-dev)
endif()
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
    "libc6-dev | libc-dev, libuv1-dev (>= 1.40), libhiredis-dev, libjansson-dev, ${msgpack}, libssl-dev (>= 3.0)")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "pkgconf | pkg-config")
set(CPACK_DEBIAN_DEV_DESCRIPTION "library that writes logs for tokencast - development files
With this library an inference server writes its own logs into Redis, for the
readers of tokencast-broker, without a worker in between.
.
The library is static, since its binary interface still changes.")

# --- what every package carries: changelogs, copyright; and pages, squeezed as the policy has it
find_program(TC_GZIP gzip)
set(debian ${CMAKE_BINARY_DIR}/debian)
configure_file(deploy/debian/changelog.in ${debian}/changelog @ONLY)
foreach(part broker worker dev)
  string(TOUPPER ${part} PART)
  set(package ${CPACK_DEBIAN_${PART}_PACKAGE_NAME})
  set(doc ${CMAKE_INSTALL_DATADIR}/doc/${package})
  install(FILES deploy/debian/copyright DESTINATION ${doc} COMPONENT ${part})
  if(NOT part STREQUAL "dev")
    install(FILES docs/plain-machines.md DESTINATION ${doc} COMPONENT ${part})
    install(FILES deploy/debian/lintian-overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides
            COMPONENT ${part} RENAME ${package})
  endif()
  install(FILES CHANGELOG.md DESTINATION ${doc} COMPONENT ${part} RENAME changelog)
  install(FILES ${debian}/changelog DESTINATION ${doc} COMPONENT ${part} RENAME changelog.Debian)
  install(CODE "
    if(\"\$ENV{TC_SQUEEZE}\" STREQUAL \"yes\")
      file(GLOB files \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${doc}/changelog*\"
           \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}/man*/*.[0-9]\")
      list(FILTER files EXCLUDE REGEX \"[.]gz\$\")
      foreach(file \${files})
        execute_process(COMMAND ${TC_GZIP} -9nf \${file} COMMAND_ERROR_IS_FATAL ANY)
      endforeach()
    endif()" COMPONENT ${part})
endforeach()

# --- scripts and marks of the packages with services
foreach(tier broker worker)
  string(TOUPPER ${tier} TIER)
  set(UNITS "'tokencast-${tier}.service'")
  set(LINKS tokencast-${tier}.service)
  if(tier STREQUAL "worker")
    string(APPEND UNITS " 'tokencast-worker@*.service'")
    string(APPEND LINKS " tokencast-worker@*.service")
  endif()
  file(WRITE ${debian}/${tier}/conffiles.in "${CMAKE_INSTALL_FULL_SYSCONFDIR}/tokencast/${tier}.env\n")
  configure_file(${debian}/${tier}/conffiles.in ${debian}/${tier}/conffiles COPYONLY)
  set(scripts ${debian}/${tier}/conffiles)
  foreach(script postinst prerm postrm)
    configure_file(deploy/debian/${script}.in ${debian}/${tier}/${script} @ONLY)
    list(APPEND scripts ${debian}/${tier}/${script})
  endforeach()
  set(CPACK_DEBIAN_${TIER}_PACKAGE_CONTROL_EXTRA "${scripts}")
endforeach()

include(CPack)
