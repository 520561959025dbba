// The server programming interface: a session, prepared statements kept for the life of the process, typed
// reading of rows.
#pragma once

#include <initializer_list>
#include <span>

#include "pg/value.hpp"

namespace saga::pg {

/// One SPI connection. Its memory is current until it ends. When the scope is left by an exception the
/// connection is closed by the rollback of the transaction or subtransaction around it.
class Spi {
 public:
  enum class Atomicity : std::uint8_t { Atomic, NonAtomic };
  explicit Spi(Atomicity atomicity = Atomicity::Atomic);
  ~Spi();
  Spi(const Spi &) = delete;
  Spi &operator=(const Spi &) = delete;

 private:
  int exceptions_;
};

/// A fixed statement, prepared at its first use and kept. Make them constinit globals, next to their users.
struct Statement {
  const char *sql;
  SPIPlanPtr plan = nullptr;
};

class Row {
 public:
  Row(HeapTuple tuple, TupleDesc desc) noexcept : tuple_(tuple), desc_(desc) {}

  /// Columns count from 1.
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] Datum datum(int column) const;
  [[nodiscard]] std::optional<Datum> optional_datum(int column) const;
  [[nodiscard]] bool boolean(int column) const { return DatumGetBool(datum(column)); }
  [[nodiscard]] std::int16_t i16(int column) const { return DatumGetInt16(datum(column)); }
  [[nodiscard]] std::int32_t i32(int column) const { return DatumGetInt32(datum(column)); }
  [[nodiscard]] std::int64_t i64(int column) const { return DatumGetInt64(datum(column)); }
  [[nodiscard]] double f64(int column) const { return DatumGetFloat8(datum(column)); }
  [[nodiscard]] domain::Xid xid8(int column) const { return DatumGetUInt64(datum(column)); }
  [[nodiscard]] TimestampTz time(int column) const { return DatumGetTimestampTz(datum(column)); }
  [[nodiscard]] std::string text(int column) const { return to_string(datum(column)); }
  [[nodiscard]] std::optional<std::string> optional_text(int column) const;
  [[nodiscard]] domain::Uuid uuid(int column) const { return to_uuid(datum(column)); }

 private:
  HeapTuple tuple_;
  TupleDesc desc_;
};

/// Rows of the last statement; valid while their Spi session is.
class Rows {
 public:
  Rows() = default;
  Rows(SPITupleTable *table, std::uint64_t processed) noexcept : table_(table), processed_(processed) {}
  [[nodiscard]] std::uint64_t affected() const noexcept { return processed_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return table_ == nullptr ? 0 : processed_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] Row operator[](std::uint64_t index) const { return {table_->vals[index], table_->tupdesc}; }

 private:
  SPITupleTable *table_ = nullptr;
  std::uint64_t processed_ = 0;
};

/// Runs a statement with a fresh snapshot. Throws pg::Error.
Rows run(Statement &statement, std::span<const Param> params);
inline Rows run(Statement &statement, std::initializer_list<Param> params) {
  return run(statement, std::span(params.begin(), params.size()));
}

/// A statement whose rows are fetched step by step, so that wide rows never pile up.
class CursorScan {
 public:
  CursorScan(Statement &statement, const std::vector<Param> &params);
  ~CursorScan();
  CursorScan(const CursorScan &) = delete;
  CursorScan &operator=(const CursorScan &) = delete;

  /// At most count rows; fewer at the end. The rows of the previous step are gone.
  Rows next(long count);

 private:
  Portal portal_;
  SPITupleTable *table_ = nullptr;
  int exceptions_;
};

/// A statement that is not worth keeping: DDL.
void run_once(const std::string &sql);
/// As run_once, with rows and parameters.
Rows query_once(const std::string &sql, std::initializer_list<Param> params);

}  // namespace saga::pg
