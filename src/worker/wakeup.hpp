// Wake-up at commit: a transaction remembers what it published, and its commit callback counts it in shared
// memory and sets one latch per idle role. No polling, no NOTIFY. The callback is registered once; it neither
// throws nor allocates.
#pragma once

#include "worker/shared_state.hpp"

namespace saga::worker {

/// Registers the transaction callback and the hook that sees COMMIT PREPARED. Called by _PG_init.
void install_wakeup();

/// This transaction has published into one partition (or resumed, replayed: whatever gives its lanes work).
void mark_published(int topic_id, std::int16_t partition);

/// Every lane of this database has work once this transaction commits.
void mark_everything();

/// This transaction changed topics, rights or subscriptions.
void mark_config_changed();

/// After a batch: wakes the sessions in wait_for_*.
void announce_progress(DatabaseEntry &database) noexcept;

}  // namespace saga::worker
