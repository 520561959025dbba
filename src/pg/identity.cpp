#include "pg/identity.hpp"

namespace saga::pg {

namespace {

struct Pin {
  const char *name;
  const char *value;
};

// Settings that a database or role owner may have chosen and that would change what our statements mean, and those
// that keep their plans on the indexes they were written for: the tables are append-only and grow too fast for
// statistics to follow.
constexpr std::array kPins{Pin{"search_path", "pg_catalog, pg_temp"}, Pin{"plan_cache_mode", "force_generic_plan"},
                           Pin{"enable_seqscan", "off"}, Pin{"enable_bitmapscan", "off"}, Pin{"jit", "off"}};

Oid cached_owner = InvalidOid;
bool owner_callback_registered = false;

void forget_owner(Datum, int, uint32) { cached_owner = InvalidOid; }

Oid look_up_owner() {
  Relation relation = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("pg_saga"));
  SysScanDesc scan = systable_beginscan(relation, ExtensionNameIndexId, true, nullptr, 1, &key);
  HeapTuple tuple = systable_getnext(scan);
  Oid owner = InvalidOid;
  if (HeapTupleIsValid(tuple)) owner = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple))->extowner;
  systable_endscan(scan);
  table_close(relation, AccessShareLock);
  return owner;
}

}  // namespace

Oid extension_owner() {
  if (!owner_callback_registered) {
    // The extension lives and dies with its schema: any change of a namespace is reason enough to look again.
    call([] { CacheRegisterSyscacheCallback(NAMESPACEOID, forget_owner, Datum{0}); });
    owner_callback_registered = true;
  }
  if (!OidIsValid(cached_owner)) cached_owner = call([] { return look_up_owner(); });
  return cached_owner;
}

std::optional<std::string> role_name(Oid role) {
  const char *name = call([&] { return GetUserNameFromId(role, true); });
  if (name == nullptr) return std::nullopt;
  return std::string(name);
}

OwnerScope::OwnerScope() {
  const Oid owner = extension_owner();
  if (!OidIsValid(owner)) {
    throw Error{ERRCODE_UNDEFINED_OBJECT,
                "extension \"pg_saga\" is not installed in this database",
                {},
                "Run CREATE EXTENSION pg_saga."};
  }
  GetUserIdAndSecContext(&user_, &security_context_);
  guc_level_ = call([] { return NewGUCNestLevel(); });
  SetUserIdAndSecContext(owner, security_context_ | SECURITY_LOCAL_USERID_CHANGE);
  call([] {
    for (const Pin &pin : kPins) {
      (void)set_config_option(pin.name, pin.value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    }
  });
}

OwnerScope::~OwnerScope() {
  AtEOXact_GUC(false, guc_level_);
  SetUserIdAndSecContext(user_, security_context_);
}

}  // namespace saga::pg
