// Transactions and subtransactions of a worker. Commit is always a visible call that may throw; the
// destructor only rolls back.
#pragma once

#include "pg/guard.hpp"

namespace saga::pg {

enum class Isolation : std::uint8_t { ReadCommitted, RepeatableRead, Serializable };

/// A top-level transaction with one active snapshot. Leaving the scope without commit() aborts it, by an
/// exception too. Memory of the transaction is current inside; the caller's context afterwards.
class Transaction {
 public:
  explicit Transaction(Isolation isolation = Isolation::ReadCommitted);
  ~Transaction();
  Transaction(const Transaction &) = delete;
  Transaction &operator=(const Transaction &) = delete;

  /// A fresh snapshot for what follows (READ COMMITTED sees what has been committed meanwhile).
  void refresh_snapshot();

  /// May throw (40001, a deferred constraint); the destructor then aborts.
  void commit();

 private:
  MemoryContext outer_;
  bool open_ = true;
};

/// An internal subtransaction. Leaving the scope without commit() rolls back to its start and restores the
/// memory context and resource owner, so that the server may be called again after an error.
class Subtransaction {
 public:
  Subtransaction();
  ~Subtransaction();
  Subtransaction(const Subtransaction &) = delete;
  Subtransaction &operator=(const Subtransaction &) = delete;

  void commit();
  /// What the destructor does, as a call that may throw.
  void rollback();

 private:
  MemoryContext memory_;
  ResourceOwner owner_;
  bool open_ = true;
};

/// Subtransaction ids of this transaction that other sessions must look up: past 64 everyone pays.
[[nodiscard]] int subtransaction_count() noexcept;

}  // namespace saga::pg
