#include "cli/features_values.h"

#include <fmt/format.h>

#include <vector>

#include "cli/cli.h"
#include "core/error.h"
#include "core/finite.h"
#include "io/tensor_file.h"

namespace locant::cli {
namespace {

/// "input_ids (B N), optional attention_mask (B N)"
std::string described(const std::vector<Port>& ports) {
  std::vector<std::string> out;
  for (const Port& port : ports)
    out.push_back(fmt::format("{}{}{}", port.optional ? "optional " : "", port.name,
                              port.axes.empty() ? "" : fmt::format(" ({})", port.axes)));
  return fmt::format("{}", fmt::join(out, ", "));
}

bool takes(const std::vector<Port>& ports, const std::string& name) {
  for (const Port& port : ports)
    if (port.name == name) return true;
  return false;
}

}  // namespace

bool holds_values(const std::string& path) { return path.ends_with(".safetensors"); }

ValuesRun run_values(const LoadedModel& loaded, const std::string& path) {
  const std::vector<Port> ports = loaded.model->inputs();
  const auto file = open_tensor_file(path);
  const bool lone = file->tensors().size() == 1;
  Values values;
  std::vector<std::string> said;
  for (const TensorInfo& info : file->tensors()) {
    const std::string name = lone && !takes(ports, info.name) ? ports.front().name : info.name;
    require(takes(ports, name), "features", "{}: {} is no input of {}; it takes {}", path, printable(name),
            loaded.name, described(ports));
    values.set(name, Var(file->read(info.name)));
    said.push_back(fmt::format("{} {}", name, info.shape.str()));
  }
  for (const Port& port : ports)
    require(port.optional || values.get(port.name).defined(), "features", "{}: there is no {}; {} takes {}",
            path, port.name, loaded.name, described(ports));
  ValuesRun out;
  out.inputs = fmt::format("{}", fmt::join(said, ", "));
  const Stopwatch watch;
  const Values results = loaded.model->run(Context{}, values);
  out.inference_s = watch.seconds();
  for (const auto& [name, value] : results) {
    const std::string bad = not_finite(value.value());
    require(bad.empty(), "features", "{}: {} of {} holds {}", path, name, loaded.name, bad);
    out.outputs.emplace_back(name, value.value());
  }
  return out;
}

}  // namespace locant::cli
