// Statements that a STABLE function runs: under the snapshot of the query that calls it, so that both see the same
// rows, and without a new command.
#pragma once

#include "pg/spi.hpp"

namespace saga::pg {

/// As pg::run, under the active snapshot. The statement must not write.
Rows read(Statement &statement, std::initializer_list<Param> params);

/// Grows whenever the active snapshot sees other rows than at the last call.
[[nodiscard]] std::uint64_t snapshot_serial();

}  // namespace saga::pg
