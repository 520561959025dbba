// When the process's copies of the settings tables are stale. Whoever changes a settings table calls
// config_changed(); the server's relation cache carries the news to every session, with the commit.
#pragma once

#include "pg/spi.hpp"

namespace saga::store {

/// Grows whenever the settings may have changed since the last look (rights and role memberships included).
[[nodiscard]] std::uint64_t config_version();

/// This transaction changed a settings table.
void config_changed();

/// Whether the extension's tables exist in this database.
[[nodiscard]] bool installed();

}  // namespace saga::store
