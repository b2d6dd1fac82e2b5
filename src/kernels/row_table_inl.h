#pragma once

#include "simd/isa.h"

namespace locant {

/// Of a table of functions, the one of an instruction set.
template <class Table>
const Table& table_of(Isa isa, const Table& reference, const Table& sse4, const Table& avx2,
                      const Table& avx512) {
  switch (isa) {
    case Isa::sse4:
      return sse4;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
    case Isa::reference:
      break;
  }
  return reference;
}

}  // namespace locant
