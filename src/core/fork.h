#pragma once

#include <mutex>

namespace locant {

/// True in a process forked from one that had several threads, and in what is forked from it. fork() copies
/// the calling thread alone: a pool of threads, Locant's or an OpenMP runtime's, still waits there for
/// threads that are gone. Such a process works in one thread.
bool forked_from_threads();

/// Takes `mutex`, which must live for ever, before each fork() and lets go of it behind it, in the parent and
/// in the child: none is left locked by a thread that the child does not have. Those that came last are taken
/// first.
void hold_over_fork(std::mutex& mutex);

}  // namespace locant
