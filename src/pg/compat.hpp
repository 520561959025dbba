// Every difference between server versions 14 and 18 that we meet, one named wrapper each.
#pragma once

#include "pg/postgres.hpp"

namespace saga::pg::compat {

inline void insert_index_entries(ResultRelInfo *relation, TupleTableSlot *slot, EState *estate) {
#if PG_VERSION_NUM >= 160000
  list_free(ExecInsertIndexTuples(relation, slot, estate, false, false, nullptr, NIL, false));
#else
  list_free(ExecInsertIndexTuples(relation, slot, estate, false, false, nullptr, NIL));
#endif
}

inline AclResult function_execute_right(Oid function, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);
#else
  return pg_proc_aclcheck(function, role, ACL_EXECUTE);
#endif
}

inline AclResult database_connect_right(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT);
#else
  return pg_database_aclcheck(database, role, ACL_CONNECT);
#endif
}

inline bool owns_database(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(DatabaseRelationId, database, role);
#else
  return pg_database_ownercheck(database, role);
#endif
}

inline bool may_become(Oid member, Oid role) {
#if PG_VERSION_NUM >= 160000
  return member_can_set_role(member, role);
#else
  return is_member_of_role(member, role);
#endif
}

/// Whether this process holds an advisory lock, of the session or of the transaction. Its own lists may be read
/// without a lock: nobody else adds to them or takes from them.
inline bool holds_advisory_lock() {
  for (auto &list : MyProc->myProcLocks) {
#if PG_VERSION_NUM >= 160000
    dlist_iter it;
    dlist_foreach(it, &list) {
      const auto *held = dlist_container(PROCLOCK, procLink, it.cur);
      if (held->tag.myLock->tag.locktag_lockmethodid == USER_LOCKMETHOD) return true;
    }
#else
    if (SHMQueueEmpty(&list)) continue;
    for (auto *held = reinterpret_cast<PROCLOCK *>(SHMQueueNext(&list, &list, offsetof(PROCLOCK, procLink)));
         held != nullptr;
         held = reinterpret_cast<PROCLOCK *>(SHMQueueNext(&list, &held->procLink, offsetof(PROCLOCK, procLink)))) {
      if (held->tag.myLock->tag.locktag_lockmethodid == USER_LOCKMETHOD) return true;
    }
#endif
  }
  return false;
}

inline PGPROC *proc_by_number(int number) { return &ProcGlobal->allProcs[number]; }

inline int my_proc_number() {
#if PG_VERSION_NUM >= 170000
  return MyProcNumber;
#else
  return MyProc->pgprocno;
#endif
}

}  // namespace saga::pg::compat
