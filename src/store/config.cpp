#include "store/config.hpp"

#include "pg/identity.hpp"

namespace saga::store {

namespace {

// The relation whose cache entry stands for all settings tables.
constexpr const char *kMarkerSchema = "saga";
constexpr const char *kMarkerTable = "installation";

std::uint64_t version = 1;
Oid marker = InvalidOid;
bool registered = false;

extern "C" {
static void saga_relcache_callback(Datum, Oid relation) {
  if (!OidIsValid(relation) || relation == marker) ++version;
}
static void saga_syscache_callback(Datum, int, uint32) { ++version; }
}

Oid find_marker() {
  return pg::call([] {
    const Oid schema = get_namespace_oid(kMarkerSchema, true);
    return OidIsValid(schema) ? get_relname_relid(kMarkerTable, schema) : InvalidOid;
  });
}

}  // namespace

std::uint64_t config_version() {
  if (!registered) {
    pg::call([] {
      CacheRegisterRelcacheCallback(saga_relcache_callback, Datum{0});
      CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, saga_syscache_callback, Datum{0});
      CacheRegisterSyscacheCallback(AUTHOID, saga_syscache_callback, Datum{0});
      CacheRegisterSyscacheCallback(PROCOID, saga_syscache_callback, Datum{0});
      CacheRegisterSyscacheCallback(NAMESPACEOID, saga_syscache_callback, Datum{0});
    });
    registered = true;
  }
  static std::uint64_t looked_up_at = 0;
  if (looked_up_at != version) {
    marker = find_marker();
    looked_up_at = version;
  }
  return version;
}

void config_changed() {
  const Oid relation = find_marker();
  pg::call([&] { CacheInvalidateRelcacheByRelid(relation); });
}

bool installed() { return OidIsValid(pg::extension_owner()) && OidIsValid(find_marker()); }

}  // namespace saga::store
