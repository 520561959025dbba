// Named points at which a test can make a process wait, fail or die. They exist in test builds only
// (SAGA_FAULT_POINTS); a release build compiles them to nothing.
//
// A point fires when the file saga_fault_<name> lies in the data directory. Its first word is the action: kill,
// error, wait (until saga_release_<name> appears). The file is removed first, so each fires once.
#pragma once

#include "pg/guard.hpp"

namespace saga::worker {

#ifdef SAGA_FAULT_POINTS
void reach_fault_point(const char *name);
#define SAGA_FAULT_POINT(name) ::saga::worker::reach_fault_point(name)
#else
#define SAGA_FAULT_POINT(name) static_cast<void>(0)
#endif

}  // namespace saga::worker
