// Guard over a lightweight lock. Nothing that can raise runs inside its scope.
#pragma once

#include "pg/postgres.hpp"

namespace saga::pg {

class LockGuard {
 public:
  LockGuard(LWLock *lock, LWLockMode mode) : lock_(lock) { LWLockAcquire(lock_, mode); }
  ~LockGuard() { LWLockRelease(lock_); }
  LockGuard(const LockGuard &) = delete;
  LockGuard &operator=(const LockGuard &) = delete;

 private:
  LWLock *lock_;
};

}  // namespace saga::pg
