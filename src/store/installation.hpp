// Which database this installation belongs to, and whether it is paused as a whole. A copy of a database (a logical
// restore, a template copy) has the rows of its original and another identity: nothing runs there until an operator
// takes it over. Everything here runs as the extension's owner, inside an Spi session.
#pragma once

#include "store/config.hpp"

namespace saga::store {

/// Writes the identity unless there is one, and the view that keeps DROP EXTENSION from dropping the data.
/// Throws SG031 in a copy.
void claim_installation();

/// False: there is no identity yet, or it is that of another database.
[[nodiscard]] bool identity_matches();

/// Throws SG031 in a copy.
void require_identity();

void pause_installation(std::string_view reason);

/// Lifts the pause. In a copy: makes this database the installation, in a new era, and looks the roles up by name.
void resume_installation();

/// The installation row as jsonb text, for the audit log.
[[nodiscard]] std::optional<std::string> installation_row();

/// Drops all storage and empties every table of the extension.
void remove_all_data();

}  // namespace saga::store
