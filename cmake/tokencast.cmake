# Flags and dependencies, named once. tc_flags carries warnings, feature macros and sanitizers; tc_dep_* are the
# distribution's libraries.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)

add_library(tc_flags INTERFACE)
target_compile_definitions(tc_flags INTERFACE _POSIX_C_SOURCE=200809L TC_VERSION="${PROJECT_VERSION}")
target_compile_options(tc_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings
  -Wundef -Wformat=2 -Wvla -fno-strict-aliasing -fno-common -fstack-protector-strong)
if(CMAKE_BUILD_TYPE MATCHES "Rel")
  target_compile_options(tc_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(TC_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  # With instrumentation gcc no longer sees the ranges of loop counters that are printed.
  target_compile_options(tc_flags INTERFACE -Wno-format-truncation -Wno-maybe-uninitialized)
endif()
if(TC_SANITIZE)
  target_compile_options(tc_flags INTERFACE -fsanitize=${TC_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(tc_flags INTERFACE -fsanitize=${TC_SANITIZE})
endif()
if(TC_FUZZ)
  target_compile_options(tc_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.40)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.12)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.68)
pkg_search_module(MSGPACK REQUIRED IMPORTED_TARGET msgpack-c msgpack)
# Debian 13's msgpack-c.pc says "includedir=include": its headers lie in the default path.
get_target_property(TC_MSGPACK_INCLUDE PkgConfig::MSGPACK INTERFACE_INCLUDE_DIRECTORIES)
if(TC_MSGPACK_INCLUDE AND NOT IS_ABSOLUTE "${TC_MSGPACK_INCLUDE}")
  set_target_properties(PkgConfig::MSGPACK PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "")
endif()

# io_uring is a way to send that a build may do without.
add_library(tc_uring INTERFACE)
pkg_check_modules(URING IMPORTED_TARGET liburing>=2.2)
if(URING_FOUND)
  target_link_libraries(tc_uring INTERFACE PkgConfig::URING)
  target_compile_definitions(tc_uring INTERFACE TC_HAVE_LIBURING=1)
endif()

# An HTTP/1.1 parser: llhttp where the distribution has it, else its predecessor with the same callbacks.
add_library(tc_http_parser INTERFACE)
find_path(TC_LLHTTP_INCLUDE llhttp.h)
find_library(TC_LLHTTP_LIBRARY llhttp)
if(TC_LLHTTP_INCLUDE AND TC_LLHTTP_LIBRARY)
  target_include_directories(tc_http_parser SYSTEM INTERFACE ${TC_LLHTTP_INCLUDE})
  target_link_libraries(tc_http_parser INTERFACE ${TC_LLHTTP_LIBRARY})
  target_compile_definitions(tc_http_parser INTERFACE TC_HAVE_LLHTTP=1)
else()
  find_path(TC_HTTP_PARSER_INCLUDE http_parser.h REQUIRED)
  find_library(TC_HTTP_PARSER_LIBRARY http_parser REQUIRED)
  target_include_directories(tc_http_parser SYSTEM INTERFACE ${TC_HTTP_PARSER_INCLUDE})
  target_link_libraries(tc_http_parser INTERFACE ${TC_HTTP_PARSER_LIBRARY})
endif()
