// Random numbers of this process, for jitter and identifiers; no secrets.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#if PG_VERSION_NUM >= 150000
#include <common/pg_prng.h>
#endif
}

namespace saga::worker {}
