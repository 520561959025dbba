// What keeps the storage small: rows that nothing needs any more are deleted in bulk, segments are rotated, and
// those whose time is over are dropped once every consumer group has read them.
#pragma once

#include "store/config.hpp"

namespace saga::store {

/// In the order in which they should run: what takes strong locks comes last.
enum class MaintenanceStep : std::uint8_t { Progress, Ids, DeadLetters, Ticks, Audit, RotateSegments, DropSegments };

inline constexpr std::array kMaintenanceSteps{MaintenanceStep::Progress,    MaintenanceStep::Ids,
                                              MaintenanceStep::DeadLetters, MaintenanceStep::Ticks,
                                              MaintenanceStep::Audit,       MaintenanceStep::RotateSegments,
                                              MaintenanceStep::DropSegments};

/// One step, in the transaction of the caller. Does nothing in a database that is a copy of another one.
/// True: segments changed, and with them what the caches of all processes hold.
bool maintain(MaintenanceStep step);

/// All steps, in the transaction of the caller.
bool maintain();

}  // namespace saga::store
