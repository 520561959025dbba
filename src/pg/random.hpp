// Random numbers of this process, for jitter and identifiers; no secrets.
#pragma once

#include "pg/postgres.hpp"

namespace saga::pg {

[[nodiscard]] inline std::uint64_t random_bits() noexcept {
#if PG_VERSION_NUM >= 150000
  return pg_prng_uint64(&pg_global_prng_state);
#else
  return (static_cast<std::uint64_t>(random()) << 42) ^ (static_cast<std::uint64_t>(random()) << 21) ^
         static_cast<std::uint64_t>(random());
#endif
}

/// 0 <= x < 1.
[[nodiscard]] inline double random_fraction() noexcept { return static_cast<double>(random_bits() >> 11) * 0x1.0p-53; }

}  // namespace saga::pg
