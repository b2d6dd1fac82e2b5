#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace locant {

/// Instruction sets that kernels exist for, weakest first. `reference` is the scalar template code.
enum class Isa { reference, sse4, avx2, avx512 };

/// "avx2"
std::string_view isa_name(Isa isa);
/// Those that this machine can run, weakest first; `reference` always among them.
const std::vector<Isa>& supported_isas();
/// The one in use: LOCANT_ISA if set, else the best supported.
/// Throws Error ("[isa] ...") that lists the right names when LOCANT_ISA is unknown or unsupported.
/// Threads: any may ask, at any time.
Isa active_isa();
/// Forces one, as LOCANT_ISA does; for tests and benchmarks. Not while another thread computes: a
/// backward must find the instruction set of its forward. Throws Error when unsupported. The limit that
/// oneDNN takes from it works only before its first primitive.
void set_active_isa(Isa isa);
/// Parses a name. Throws Error that lists the right ones.
Isa parse_isa(std::string_view name);
/// "avx512 (best of this machine)" or "avx2 (LOCANT_ISA)".
std::string isa_reason();

}  // namespace locant
