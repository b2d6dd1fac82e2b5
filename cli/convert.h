#pragma once

namespace CLI {
class App;
}  // namespace CLI

namespace locant::cli {

struct GlobalOptions;

void add_convert(CLI::App& app, GlobalOptions& globals);

}  // namespace locant::cli
