#pragma once

namespace locant {

/// Lets OpenMP's idle threads sleep soon. GNU OpenMP's spin for milliseconds behind each parallel region,
/// which on a machine with other work takes the core from a thread that somebody waits for. The runtime reads
/// GOMP_SPINCOUNT and OMP_WAIT_POLICY as it is loaded, so a program cannot set them for itself; but it spins
/// a three hundredth as long while it has more threads than the machine has cores (see GOMP_SPINCOUNT in its
/// manual). This starts as many threads as that takes beside num_threads(), two where that is all cores,
/// which sleep until the process ends.
///
/// For the whole process, Locant or not, and for good. Call it behind set_num_threads(), and again when fewer
/// threads are asked for later. Does nothing where the environment has either variable, where no GNU OpenMP
/// runtime is loaded (none spins then), and in a child of fork(). Throws Error when threads cannot be
/// started.
void shorten_spinning();

}  // namespace locant
