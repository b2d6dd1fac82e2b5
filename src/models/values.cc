#include "models/values.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

std::string names_of(const std::vector<Port>& ports) {
  std::string out;
  for (const Port& port : ports)
    out += fmt::format("{}{} ({}{})", out.empty() ? "" : ", ", port.name,
                       port.axes.empty() ? "any shape" : port.axes, port.optional ? ", optional" : "");
  return out;
}

int rank_of(const std::string& axes) {
  return axes.empty() ? -1 : 1 + static_cast<int>(std::count(axes.begin(), axes.end(), ' '));
}

void check_numbers(std::string_view op, const Port& port, const Tensor& value) {
  if (port.kind == Port::Kind::numbers || port.kind == Port::Kind::state) return;
  for (const float x : value.values()) {
    const bool whole = x >= 0 && x < 16777216.0f && x == std::floor(x);  // as far as float32 counts
    const bool fits = port.kind == Port::Kind::option || (whole && (port.kind != Port::Kind::mask || x <= 1));
    require(fits, op, "{} holds {}; {} expected", port.name, x,
            port.kind == Port::Kind::mask ? "0 and 1 were" : "whole numbers from 0 on were");
  }
}

}  // namespace

void Values::set(std::string_view name, Var value) {
  const auto it =
      std::find_if(items_.begin(), items_.end(), [&](const Item& item) { return item.first == name; });
  if (it == items_.end())
    items_.emplace_back(name, std::move(value));
  else
    it->second = std::move(value);
}

Var Values::get(std::string_view name) const {
  for (const Item& item : items_)
    if (item.first == name) return item.second;
  return {};
}

const Var& Values::at(std::string_view name, std::string_view op) const {
  std::string names;
  for (const Item& item : items_) {
    if (item.first == name) return item.second;
    names += (names.empty() ? "" : ", ") + item.first;
  }
  fail(op, "there is no value \"{}\"; there are: {}", name, names);
}

std::int64_t Values::number(std::string_view name) const {
  const Tensor& value = at(name).value();
  require(value.numel() == 1, "values", "the option {} is of shape {}; one number was expected", name,
          value.shape().str());
  return static_cast<std::int64_t>(value[0]);
}

std::vector<Port> with_options(std::vector<Port> ports, const std::vector<std::string>& options) {
  for (const std::string& option : options) ports.push_back({option, "", "", Port::Kind::option, true});
  return ports;
}

void check_inputs(std::string_view op, const std::vector<Port>& ports, const Values& inputs) {
  for (const Values::Item& item : inputs)
    require(
        std::any_of(ports.begin(), ports.end(), [&](const Port& port) { return port.name == item.first; }),
        op, "no input is called \"{}\"; there are {}", item.first, names_of(ports));
  for (const Port& port : ports) {
    const Var value = inputs.get(port.name);
    if (!value.defined()) {
      require(port.optional, op, "the input {} ({}) is missing", port.name,
              port.axes.empty() ? port.note : port.axes);
      continue;
    }
    const int rank = rank_of(port.axes);
    if (rank >= 0 && value.shape().rank() != rank)
      fail(op, "{} of shape {}; ({}) was expected", port.name, value.shape().str(), port.axes);
    check_numbers(op, port, value.value());
  }
}

}  // namespace locant
