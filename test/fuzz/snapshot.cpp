// Any text as a snapshot. What is accepted is written back unchanged, and hiding a transaction hides that
// one only.
#include "domain/snapshot.hpp"

#include <algorithm>
#include <string>

#include "input.hpp"

namespace {

using saga::domain::Snapshot;
using saga::domain::Xid;
using saga::fuzz::require;

bool listed(const Snapshot &snapshot, Xid xid) {
  return std::find(snapshot.running().begin(), snapshot.running().end(), xid) != snapshot.running().end();
}

void check_seeing(const Snapshot &snapshot, Xid xid) {
  const bool expected = xid != 0 && xid < snapshot.xmax() && !listed(snapshot, xid);
  require(snapshot.sees(xid) == expected);
}

void check_without(const Snapshot &snapshot, Xid hidden, Xid other) {
  const Snapshot left = snapshot.without(hidden);
  require(!left.sees(hidden));
  require(other == hidden || left.sees(other) == snapshot.sees(other));
  require(Snapshot::parse(left.text()) == left);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const std::string text(saga::fuzz::Input(data, size).rest());
  const auto snapshot = Snapshot::parse(text);
  if (!snapshot) return 0;
  require(snapshot->text() == text);
  require(snapshot->xmin() <= snapshot->xmax());
  require(std::is_sorted(snapshot->running().begin(), snapshot->running().end()));

  // The interesting transactions are those at the edges of the snapshot and of its running list.
  const Xid first = snapshot->running().empty() ? snapshot->xmin() : snapshot->running().front();
  const Xid last = snapshot->running().empty() ? snapshot->xmax() : snapshot->running().back();
  for (const Xid edge : {snapshot->xmin(), first, last, snapshot->xmax(), Xid{1}}) {
    for (const Xid xid : {edge - 1, edge, edge + 1}) {
      check_seeing(*snapshot, xid);
      check_without(*snapshot, xid, edge);
      check_without(*snapshot, edge, xid);
    }
  }
  return 0;
}
