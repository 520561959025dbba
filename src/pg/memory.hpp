// Scopes over memory contexts: what is palloc'd inside a unit of work is gone when it ends.
#pragma once

#include "pg/guard.hpp"

namespace saga::pg {

/// Makes a context current for a scope. Leaving it by an exception restores the previous one too.
class MemoryScope {
 public:
  explicit MemoryScope(MemoryContext context) noexcept : previous_(MemoryContextSwitchTo(context)) {}
  ~MemoryScope() { MemoryContextSwitchTo(previous_); }
  MemoryScope(const MemoryScope &) = delete;
  MemoryScope &operator=(const MemoryScope &) = delete;

 private:
  MemoryContext previous_;
};

/// Owns a context below TopMemoryContext; the destructor deletes it with everything in it.
class OwnedContext {
 public:
  explicit OwnedContext(const char *name)
      : context_(call([&] { return AllocSetContextCreateInternal(TopMemoryContext, name, ALLOCSET_DEFAULT_SIZES); })) {}
  ~OwnedContext() { MemoryContextDelete(context_); }
  OwnedContext(const OwnedContext &) = delete;
  OwnedContext &operator=(const OwnedContext &) = delete;

  [[nodiscard]] MemoryContext get() const noexcept { return context_; }
  void reset() noexcept { MemoryContextReset(context_); }

 private:
  MemoryContext context_;
};

}  // namespace saga::pg
