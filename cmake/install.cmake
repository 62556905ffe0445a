include(GNUInstallDirs)
install(TARGETS tokencast-broker tokencast-worker RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
