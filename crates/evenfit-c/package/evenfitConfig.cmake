# Targets: evenfit::evenfit (shared) and evenfit::static. Both carry the headers of C and C++.
get_filename_component(_evenfit_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
foreach(_evenfit_target evenfit static)
  if(NOT TARGET evenfit::${_evenfit_target})
    if(_evenfit_target STREQUAL "evenfit")
      add_library(evenfit::evenfit SHARED IMPORTED)
      set(_evenfit_file libevenfit.so)
    else()
      add_library(evenfit::static STATIC IMPORTED)
      set(_evenfit_file libevenfit.a)
    endif()
    set_target_properties(evenfit::${_evenfit_target} PROPERTIES
      IMPORTED_LOCATION "${_evenfit_prefix}/lib/${_evenfit_file}"
      INTERFACE_INCLUDE_DIRECTORIES "${_evenfit_prefix}/include")
  endif()
endforeach()
unset(_evenfit_prefix)
unset(_evenfit_target)
unset(_evenfit_file)
