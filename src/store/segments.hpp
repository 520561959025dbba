// Storage segments: each is one set of leaves of the bulk tables, for one retention class and one stretch of time.
// Leaves are ordinary tables of the extension's owner, made by create_topic and maintenance, never by publish.
// Everything here runs as the extension's owner, inside an Spi session.
#pragma once

#include "store/config.hpp"

namespace saga::store {

/// Opens a segment for a retention class unless one is open.
void ensure_segment(const Interval &retention);

/// Opens the next segment of each class whose open one is older than an eighth of its retention (an hour at least),
/// and closes the old one. False: nothing to do.
bool rotate_segments();

/// Drops segments that were closed longer ago than their retention and that nothing needs any more: every lane has
/// read them, no parked event lives there. One that is in use is left to the next run. False: nothing was dropped.
bool drop_segments();

/// Drops every segment, whatever it holds.
void drop_all_segments();

}  // namespace saga::store
