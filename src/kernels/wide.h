#pragma once

namespace locant::reference {

/// What sums are kept in: float rows in double, anything else (double, complex) as it is.
template <class T>
struct Wide {
  using type = T;
};
template <>
struct Wide<float> {
  using type = double;
};

}  // namespace locant::reference
