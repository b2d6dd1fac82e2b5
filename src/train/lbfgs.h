#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace locant {

struct LbfgsOptions {
  std::int64_t most_steps = 1000;
  std::int64_t memory = 10;  ///< pairs that stand for the curvature
  double tolerance = 1e-5;   ///< of the largest gradient entry
};

struct LbfgsResult {
  double value = 0.0, gradient = 0.0;  ///< at the end; gradient: its largest entry
  std::int64_t steps = 0;
  bool converged = false;  ///< the gradient is below the tolerance, or rounding hides all further progress
  bool stopped = false;    ///< `go_on` said so
};

/// Minimises a smooth function of many numbers from `x` on, in place: limited-memory BFGS (Liu, Nocedal 1989;
/// Nocedal, Wright 2006, algorithm 7.5) with a line search for Wolfe's conditions (there algorithm 3.5 by
/// bisection), or for slopes alone where rounding hides that the value falls (Hager, Zhang 2005: approximate
/// Wolfe conditions). `function(x, g)` gives the value and fills the gradient. `go_on(steps, value)` is asked
/// after each step. Throws Error where the value is not finite at the start.
LbfgsResult lbfgs(std::vector<double>& x,
                  const std::function<double(const std::vector<double>&, std::vector<double>&)>& function,
                  const LbfgsOptions& options = {},
                  const std::function<bool(std::int64_t, double)>& go_on = {});

}  // namespace locant
