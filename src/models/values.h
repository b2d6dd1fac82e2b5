#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/tape.h"

namespace locant {

/// Tensors by name, in order: what goes into a model, or comes out of it.
class Values {
 public:
  using Item = std::pair<std::string, Var>;
  Values() = default;
  Values(std::initializer_list<Item> items) : items_(items) {}

  /// Adds it, or replaces the one of this name.
  void set(std::string_view name, Var value);
  /// Undefined where there is none of this name.
  Var get(std::string_view name) const;
  /// Throws Error under `op` that lists the names there are.
  const Var& at(std::string_view name, std::string_view op = "values") const;

  /// A call option of one number. Throws Error when it is missing or has several.
  std::int64_t number(std::string_view name) const;

  bool empty() const { return items_.empty(); }
  std::size_t size() const { return items_.size(); }
  const Var& front() const { return items_.front().second; }
  std::vector<Item>::const_iterator begin() const { return items_.begin(); }
  std::vector<Item>::const_iterator end() const { return items_.end(); }

 private:
  std::vector<Item> items_;
};

/// One input or output of a model.
struct Port {
  enum class Kind {
    numbers,  ///< pictures, frames, features
    ids,      ///< whole numbers from 0 on: tokens
    mask,     ///< 1 to see, 0 to hide
    lengths,  ///< how much of each sample is there
    state,    ///< what one call leaves to the next; the first call goes without
    option    ///< how to answer, no part of a configuration: multimask_output
  };
  std::string name;
  std::string axes = {};  ///< a word an axis: "B C H W"; its count is the rank. Empty: any shape
  std::string note = {};  ///< one line for people
  Kind kind = Kind::numbers;
  bool optional = false;
};

/// `ports`, and the options of a call behind them.
std::vector<Port> with_options(std::vector<Port> ports, const std::vector<std::string>& options);

/// Throws Error under `op` for an input that no port takes, that is missing, of another rank, or that holds
/// what its kind cannot.
void check_inputs(std::string_view op, const std::vector<Port>& ports, const Values& inputs);

}  // namespace locant
