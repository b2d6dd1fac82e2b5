#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace locant {

/// What the writers of transformers' and timm's folders ask of a model's configuration; its own JSON object,
/// all fields.
using HubJson = nlohmann::ordered_json;

/// One number where both sides are the same, else the list.
HubJson side_or_sides(const HubJson& pair);

/// mlp_ratio such that a library which rounds ratio * dim down has `hidden` channels.
double ratio_of(std::int64_t hidden, std::int64_t dim);

/// Fields in which two configurations differ; where the number is a float, as floats. `passed` are not
/// compared.
std::vector<std::string> differing_fields(const HubJson& a, const HubJson& b,
                                          const std::vector<std::string>& passed);

/// Throws Error that names the first field in which `config` is not what the library's class has.
/// `target` as in "transformers' ViTModel".
void require_fields(const std::string& target, const HubJson& config, const HubJson& has,
                    const std::vector<std::string>& passed);

/// What changes no parameter's use: rules of resizing tables, of training, and names of what shapes say.
const std::vector<std::string>& fields_beside_the_answer();

/// Of a Swin configuration: checks that patch and merging norms have epsilon 1e-5, as both libraries' classes
/// have, and that windows are fitted alike where img_size has no incomplete ones. Throws Error that names the
/// field; adds a note where only pictures of other sizes are answered otherwise.
void require_pyramid(const std::string& target, const HubJson& config, const HubJson& has,
                     std::vector<std::string>& notes);

}  // namespace locant
