// What every file of the pure core shares: widths, durations, identifiers. The core knows no server,
// no clock and no randomness; times and random numbers come in as arguments.
#pragma once

#ifdef POSTGRES_H
#error "src/domain is pure C++: include it before, never after, the server's headers"
#endif

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace saga::domain {

using Millis = std::chrono::milliseconds;
using Micros = std::chrono::microseconds;

/// A transaction id that never wraps (the server's xid8).
using Xid = std::uint64_t;

/// Where an event stands in the publish order of its database; drawn from one uncached counter.
using Position = std::int64_t;

}  // namespace saga::domain
