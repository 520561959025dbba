// The only include of server headers. The core's base header comes first, because it refuses to be
// included after them.
#pragma once

#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "domain/base.hpp"

extern "C" {
#include <postgres.h>

#include <access/detoast.h>
#include <access/genam.h>
#include <access/heapam.h>
#include <access/htup_details.h>
#include <access/parallel.h>
#include <access/table.h>
#include <access/tableam.h>
#include <access/transam.h>
#include <access/xact.h>
#include <access/xlog.h>
#include <catalog/dependency.h>
#include <catalog/namespace.h>
#include <catalog/objectaddress.h>
#include <catalog/partition.h>
#include <catalog/pg_authid.h>
#include <catalog/pg_database.h>
#include <catalog/pg_extension.h>
#include <catalog/pg_namespace.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <commands/async.h>
#include <commands/dbcommands.h>
#include <commands/defrem.h>
#include <commands/extension.h>
#include <commands/prepare.h>
#include <commands/sequence.h>
#include <commands/trigger.h>
#if PG_VERSION_NUM >= 150000
#include <common/pg_prng.h>
#endif
#include <executor/executor.h>
#include <executor/spi.h>
#include <fmgr.h>
#include <funcapi.h>
#include <lib/stringinfo.h>
#include <mb/pg_wchar.h>
#include <miscadmin.h>
#include <nodes/makefuncs.h>
#include <parser/parse_func.h>
#include <parser/parse_type.h>
#include <pgstat.h>
#include <port/atomics.h>
#include <postmaster/bgworker.h>
#include <postmaster/interrupt.h>
#include <storage/condition_variable.h>
#include <storage/ipc.h>
#include <storage/latch.h>
#include <storage/lmgr.h>
#include <storage/lwlock.h>
#include <storage/proc.h>
#include <storage/procarray.h>
#include <storage/shmem.h>
#include <tcop/pquery.h>
#include <tcop/tcopprot.h>
#include <tcop/utility.h>
#include <utils/acl.h>
#include <utils/array.h>
#include <utils/arrayaccess.h>
#include <utils/builtins.h>
#include <utils/catcache.h>
#include <utils/datum.h>
#include <utils/fmgroids.h>
#include <utils/guc.h>
#include <utils/inval.h>
#include <utils/json.h>
#include <utils/jsonb.h>
#include <utils/lsyscache.h>
#include <utils/memutils.h>
#include <utils/portal.h>
#include <utils/ps_status.h>
#include <utils/regproc.h>
#include <utils/rel.h>
#include <utils/resowner.h>
#include <utils/snapmgr.h>
#include <utils/syscache.h>
#include <utils/timeout.h>
#include <utils/timestamp.h>
#include <utils/tuplestore.h>
#include <utils/typcache.h>
#include <utils/uuid.h>
#include <utils/varlena.h>
#include <utils/xid8.h>
#if PG_VERSION_NUM >= 160000
#include <varatt.h>
#endif
}

// Macros of the server that would rewrite our own names.
#undef _
#undef gettext
#undef dgettext
#undef ngettext
#undef dngettext
#undef snprintf
#undef sprintf
#undef printf
#undef fprintf
#undef vsnprintf
#undef vsprintf
#undef vprintf
#undef vfprintf
#undef strerror
#undef strerror_r

/// Entry points keep default visibility although everything else is hidden (PGDLLEXPORT is empty before 16).
#define SAGA_EXPORT __attribute__((visibility("default")))
