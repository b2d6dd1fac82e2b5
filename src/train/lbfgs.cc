#include "train/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "core/error.h"

namespace locant {
namespace {

using Numbers = std::vector<double>;

double dot(const Numbers& a, const Numbers& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double largest(const Numbers& g) {
  double out = 0.0;
  for (const double x : g) out = std::max(out, std::abs(x));
  return out;
}

void add_scaled(Numbers& to, double factor, const Numbers& x) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += factor * x[i];
}

/// s = x' - x and y = g' - g of one step, rho = 1 / s.y.
struct Change {
  Numbers s, y;
  double rho = 0.0;
};

/// -H g: the two loops of algorithm 7.4.
Numbers direction(const std::deque<Change>& pairs, const Numbers& g) {
  Numbers d = g;
  std::vector<double> alpha(pairs.size());
  for (std::size_t i = pairs.size(); i-- > 0;) {
    alpha[i] = pairs[i].rho * dot(pairs[i].s, d);
    add_scaled(d, -alpha[i], pairs[i].y);
  }
  if (!pairs.empty()) {
    const Change& last = pairs.back();
    const double gamma = 1.0 / (last.rho * dot(last.y, last.y));
    for (double& x : d) x *= gamma;
  }
  for (std::size_t i = 0; i < pairs.size(); ++i)
    add_scaled(d, alpha[i] - pairs[i].rho * dot(pairs[i].y, d), pairs[i].s);
  for (double& x : d) x = -x;
  return d;
}

}  // namespace

LbfgsResult lbfgs(Numbers& x, const std::function<double(const Numbers&, Numbers&)>& function,
                  const LbfgsOptions& options, const std::function<bool(std::int64_t, double)>& go_on) {
  constexpr double kDecrease = 1e-4, kCurvature = 0.9;
  constexpr double kRounding = 1e-7;  // of values whose products are float32
  constexpr int kMostTries = 40;
  constexpr std::int64_t kPatience = 300;  // steps without a smaller gradient: what is left is rounding
  double least = std::numeric_limits<double>::infinity();
  std::int64_t least_at = 0;
  LbfgsResult out;
  Numbers g(x.size());
  out.value = function(x, g);
  require(std::isfinite(out.value), "lbfgs", "the value at the start is {}", out.value);
  std::deque<Change> pairs;
  for (;;) {
    out.gradient = largest(g);
    if (out.gradient < least) {
      least = out.gradient;
      least_at = out.steps;
    }
    out.converged = out.gradient <= options.tolerance || out.steps - least_at >= kPatience;
    if (out.converged || out.steps == options.most_steps) return out;
    Numbers d = direction(pairs, g);
    double slope = dot(d, g);
    if (!(slope < 0.0)) {  // rounding has spoilt the curvature: begin anew
      pairs.clear();
      d = direction(pairs, g);
      slope = dot(d, g);
    }
    // Halve and double between a step that is too short and one that is too long.
    double low = 0.0, high = std::numeric_limits<double>::infinity();
    double step = pairs.empty() ? std::min(1.0, 1.0 / std::sqrt(dot(g, g))) : 1.0;
    Numbers next, next_g(x.size());
    double value = 0.0;
    bool found = false;
    for (int tries = 0; tries < kMostTries && !found; ++tries) {
      next = x;
      add_scaled(next, step, d);
      value = function(next, next_g);
      const double next_slope = dot(next_g, d);
      const bool lower = value <= out.value + kDecrease * step * slope;
      const bool level = value <= out.value + kRounding * std::abs(out.value) &&
                         next_slope <= (2.0 * kDecrease - 1.0) * slope;
      if (!std::isfinite(value) || !(lower || level))
        high = step;
      else if (next_slope < kCurvature * slope)
        low = step;
      else
        found = true;
      if (!found) step = std::isinf(high) ? 2.0 * step : 0.5 * (low + high);
    }
    if (!found && !(std::isfinite(value) && value < out.value)) {
      out.converged = true;  // no step is seen to help: the value is as small as its rounding lets it be
      return out;
    }
    Change pair{next, next_g, 0.0};
    add_scaled(pair.s, -1.0, x);
    add_scaled(pair.y, -1.0, g);
    const double curvature = dot(pair.s, pair.y);
    if (curvature > 0.0) {
      pair.rho = 1.0 / curvature;
      pairs.push_back(std::move(pair));
      if (static_cast<std::int64_t>(pairs.size()) > options.memory) pairs.pop_front();
    }
    x = std::move(next);
    g = std::move(next_g);
    out.value = value;
    ++out.steps;
    if (go_on && !go_on(out.steps, out.value)) {
      out.stopped = true;
      out.gradient = largest(g);
      return out;
    }
  }
}

}  // namespace locant
