#include "models/tell.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "models/config_json.h"
#include "models/registry.h"

namespace locant {
namespace {

using Json = nlohmann::json;

/// All fields of a variant.
std::string all_fields(const ModelEntry& entry) {
  const Family& family = find_family(entry.family);
  return merge_config(family.default_config(family), entry.config);
}

/// Fields in which files of one variant may differ: picture, channels, classes, and windows that follow.
bool is_a_size(std::string_view key) {
  for (const char* name : {"img_size", "image_size", "in_chans", "num_classes", "window", "windows",
                           "unused_head", "head_input"})
    if (key == name) return true;
  return false;
}

/// Of training alone: answers do not depend on it.
bool trains_only(std::string_view key) { return key.starts_with("drop") || key.ends_with("_init"); }

/// Reads a file as one family under one naming and prefix.
class Attempt {
 public:
  Attempt(const TensorIndex& index, const TellRequest& request, const Family& family, const Renames& renames,
          std::string prefix)
      : request_(request),
        family_(family),
        renames_(renames),
        source_(std::make_shared<CheckpointSource>(StateDict(index, std::move(prefix)), renames)) {
    for (const Renames::Override& entry : renames_.overrides) decided_.merge(config_keys(entry.values));
    // Of a description without a family what this one knows.
    told_ = request.family != nullptr ? request.config : known_fields(request.config);
    if (!request.option.empty()) told_ = told_.empty() ? request.option : merge_config(told_, request.option);
  }

  /// The variant that lacks least of what the file has; for files that fit none.
  void read_nearest(Reading& out) const {
    out.family = &family_;
    out.renames = &renames_;
    out.prefix = source_->state().prefix();
    for (const ModelEntry& entry : entries_of(family_)) {
      std::string config = sized(entry, nullptr);
      CheckpointFit entry_fit = fit(config);
      if (!out.config.empty() && entry_fit.faults() >= out.fit.faults()) continue;
      out.entry = &entry;
      out.config = std::move(config);
      out.fit = std::move(entry_fit);
    }
  }
  /// False where the tensors are no such family's.
  bool read(Reading& out) const {
    out.family = &family_;
    out.renames = &renames_;
    out.prefix = source_->state().prefix();
    if (request_.model != nullptr) return read_as(*request_.model, out);
    const bool told = told_by_config(out);
    if (!told && out.config.empty() && out.why.empty()) return false;
    choose_variant(out);
    if (out.config.empty() && out.rivals.empty()) return !out.why.empty();
    if (!out.config.empty()) out.fit = fit(out.config);
    return true;
  }

 private:
  struct Choice {
    const ModelEntry* entry;
    ConfigPrint print;     // of its configuration at the file's sizes
    std::size_t distance;  // fields that differ
    int strange;           // 0: made for this naming, 1: for any
  };
  static constexpr std::size_t kAnothers = 1000;  // made for another naming

  /// The configuration that shapes and `told` say; empty where they do not, with the reason in `why`.
  std::string configuration(const std::string& told, std::vector<std::string>* assumed,
                            std::string* why) const {
    const NamedShapes shapes(family_.name, source_);
    try {
      const std::string config = family_.from_shapes(family_, shapes, told);
      const std::string implied = renames_.overridden(config);
      if (assumed != nullptr) *assumed = without(shapes.assumed(), config_keys(implied));
      return merge_config(config, implied);
    } catch (const Error& error) {
      if (why != nullptr && shapes.missed().empty()) *why = error.what();
      return "";
    }
  }
  std::string known_fields(const std::string& config) const {
    if (config.empty()) return "";
    const Json fields = Json::parse(family_.default_config(family_));
    Json out = Json::parse(config);
    for (auto it = out.begin(); it != out.end();)
      it = fields.contains(it.key()) ? std::next(it) : out.erase(it);
    return out.empty() ? "" : out.dump();
  }
  /// Notes "key value" but of these keys.
  static std::vector<std::string> without(std::vector<std::string> notes, const std::set<std::string>& keys) {
    std::erase_if(notes,
                  [&](const std::string& note) { return keys.count(note.substr(0, note.find(' '))) != 0; });
    return notes;
  }
  CheckpointFit fit(const std::string& config) const {
    return source_->fit(model_parameters(family_.name, config), request_.ignore);
  }
  /// All fields of a registered variant under this naming, but for what the caller says.
  std::string whole(const ModelEntry& entry) const {
    const std::string all = all_fields(entry);
    const std::string out = renames_.overrides.empty() ? all : renames_.configure(all);
    return request_.option.empty() ? out : merge_config(out, request_.option);
  }

  /// A variant at the file's sizes; of another width or depth as it is, so that what is missing is said of
  /// it.
  std::string sized(const ModelEntry& entry, std::string* why) const {
    const std::string variant = whole(entry), config = configuration(variant, nullptr, why);
    if (config.empty()) return variant;
    const std::vector<std::string_view> keys = differing(variant, config);
    const bool same = std::all_of(keys.begin(), keys.end(),
                                  [](std::string_view key) { return is_a_size(key) || trains_only(key); });
    return same ? config : variant;
  }

  /// Fields of `b` that `a` has otherwise; both JSON objects.
  std::vector<std::string_view> differing(const std::string& a, const std::string& b) const {
    return family_.print(family_, b).difference(family_.print(family_, a));
  }

  bool read_as(const ModelEntry& entry, Reading& out) const {
    out.entry = &entry;
    out.config = sized(entry, &out.why);
    out.fit = fit(out.config);
    const std::string variant = whole(entry), config = configuration(variant, nullptr, nullptr);
    if (config.empty()) return out.fit.matched + out.fit.wrong_shape.size() > 0;
    const Json has = Json::parse(variant), file = Json::parse(config);
    for (const std::string_view key : differing(variant, config))
      if (!is_a_size(key) && !trains_only(key))
        out.apart.push_back(
            fmt::format("{} {} ({} has {})", key, file[key].dump(), entry.name, has[key].dump()));
    return true;
  }

  /// The configuration of `request.config`, or of shapes alone. Fields of it that a shape contradicts give
  /// way.
  bool told_by_config(Reading& out) const {
    const std::string& told = told_;
    const std::string& base = request_.base;
    std::string known = base.empty() || told.empty() ? base + told : merge_config(base, told);
    if (!base.empty()) out.config = configuration(known, &out.assumed, nullptr);
    if (out.config.empty()) out.config = configuration(known = told, &out.assumed, &out.why);
    if (out.config.empty()) return false;
    if (told.empty()) return true;
    const NamedShapes shapes(family_.name, source_);
    const Json got = Json::parse(family_.from_shapes(family_, shapes, known)), wanted = Json::parse(told);
    Json kept = Json::object();  // what is told beats what the naming implies
    for (const auto& item : wanted.items()) {
      if (!got.contains(item.key())) continue;
      if (same(got[item.key()], item.value()))
        kept[item.key()] = got[item.key()];
      else
        out.overruled.push_back(fmt::format("{} {} (the tensors say {})", item.key(), item.value().dump(),
                                            got[item.key()].dump()));
    }
    out.config = merge_config(out.config, kept.dump());
    return true;
  }

  /// Also 224 and [224, 224], and objects of such.
  static bool same(const Json& got, const Json& wanted) {
    if (got == wanted) return true;
    if (got.is_object() && wanted.is_object()) {
      for (auto it = wanted.begin(); it != wanted.end(); ++it)
        if (got.contains(it.key()) && !same(got[it.key()], it.value())) return false;  // absent: the default
      return true;
    }
    return wanted.is_number() && got.is_array() &&
           std::all_of(got.begin(), got.end(), [&](const Json& x) { return x == wanted; });
  }

  /// Of the family's variants those that the tensors may be, and of these the one that it is.
  void choose_variant(Reading& out) const {
    std::vector<Choice> choices;
    std::optional<ConfigPrint> known;
    if (!out.config.empty()) known = family_.print(family_, out.config);
    const std::vector<ModelEntry>& entries = entries_of(family_);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const ModelEntry& entry = entries[i];
      if (known && !alike_in_width(*known, i)) continue;
      const auto [variant, sized] = prints(i);
      if (!sized) continue;
      if (!known) {  // widths and depths come from shapes, whatever else is told
        known = sized;
        if (!alike_in_width(*known, i)) continue;
      }
      const bool another = !entry.naming.empty() && entry.naming != renames_.naming;
      Choice choice{&entry, *sized, another ? kAnothers : 0, entry.naming.empty() ? 1 : 0};
      bool same = true;
      for (const std::string_view key : sized->difference(variant)) {
        if (trains_only(key)) continue;
        same = same && is_a_size(key);
        choice.distance += key == "num_classes" ? 1 : 10;
      }
      if (same) choices.push_back(std::move(choice));
    }
    std::stable_sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
      return std::pair(a.distance, a.strange) < std::pair(b.distance, b.strange);
    });
    out.named = prefer_named(choices);
    std::string config;  // empty where the sizes are of no model
    while (!choices.empty() && (config = configuration(whole(*choices[0].entry), nullptr, nullptr)).empty())
      choices.erase(choices.begin());
    if (choices.empty()) return;
    const bool told = !(request_.config.empty() && request_.base.empty()) && !out.config.empty();
    if (told) {  // the description says how to compute; the variant, how pictures are prepared
      out.entry = choices[0].entry;
      return;
    }
    for (const Choice& choice : choices) {
      if (choice.distance > choices[0].distance) break;
      const std::vector<std::string_view> keys = choice.print.difference(choices[0].print);
      const bool same = std::all_of(keys.begin(), keys.end(), trains_only);
      (same ? out.alike : out.rivals).push_back(choice.entry);
    }
    out.entry = choices[0].entry;
    out.alike.erase(out.alike.begin());
    if (!out.rivals.empty()) out.rivals.insert(out.rivals.begin(), out.entry);
    out.config = std::move(config);
    out.assumed.clear();
    out.why.clear();
  }

  /// What a variant is by itself, and as the tensors are sized; nothing where they are none of it.
  std::pair<ConfigPrint, std::optional<ConfigPrint>> prints(std::size_t variant) const {
    if (request_.option.empty()) {
      const ConfigPrint& registered = family_.variant_print(variant);
      std::optional<ConfigPrint> quick = family_.sized_print(NamedShapes(family_.name, source_), variant);
      if (renames_.overrides.empty() || !quick || !of_a_size(registered, *quick)) return {registered, quick};
    }
    const std::string all = whole(entries_of(family_)[variant]),
                      config = configuration(all, nullptr, nullptr);
    std::optional<ConfigPrint> sized;
    if (!config.empty()) sized = family_.print(family_, config);
    return {family_.print(family_, all), sized};
  }

  /// Whether the fields that differ are sizes, or what the naming decides anyway.
  bool of_a_size(const ConfigPrint& registered, const ConfigPrint& sized) const {
    const std::vector<std::string_view> keys = sized.difference(registered);
    return std::all_of(keys.begin(), keys.end(), [&](std::string_view key) {
      return is_a_size(key) || trains_only(key) || decided_.count(std::string(key)) != 0;
    });
  }

  /// Widths and depths of a variant as the shapes have them; a quick look before a thorough one.
  bool alike_in_width(const ConfigPrint& known, std::size_t variant) const {
    for (const char* key : {"dim", "dims", "depth", "depths"})
      if (known.at(key) != family_.variant_print(variant).at(key)) return false;
    return true;
  }

  /// Where the file's name holds names of variants, the longest of them decides.
  bool prefer_named(std::vector<Choice>& choices) const {
    std::size_t longest = 0, at = 0;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      std::vector<std::string> names = choices[i].entry->aliases;
      names.push_back(choices[i].entry->name);
      for (const std::string& name : names)
        if (name.size() > longest && request_.file_name.find(name) != std::string::npos) {
          longest = name.size();
          at = i;
        }
    }
    constexpr std::size_t kTelling = 6;  // "vit_t" is in many a name
    if (longest < kTelling) return false;
    std::rotate(choices.begin(), choices.begin() + static_cast<std::ptrdiff_t>(at),
                choices.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    for (std::size_t i = 1; i < choices.size(); ++i) choices[i].distance = choices[0].distance + 1;
    return true;
  }

  const TellRequest& request_;
  const Family& family_;
  const Renames& renames_;
  std::shared_ptr<CheckpointSource> source_;
  std::set<std::string> decided_;  // fields that the naming's overrides may set
  std::string told_;               // what description and caller say of this family
};

/// Where one tensor of so many does not fit, the shapes have told the right thing.
constexpr std::size_t kFarOff = 4;

std::string with_dot(std::string key) { return key.empty() || key.back() == '.' ? key : key + "."; }

/// What may stand before a family's names: where its anchor is.
std::vector<std::string> prefixes_for(const TensorIndex& index, const TellRequest& request,
                                      const std::string& anchor, const Renames& renames) {
  const std::vector<std::string> anchors = renames.library_names(anchor);
  std::vector<std::string> out = index.prefixes_of(anchors[0]);
  if (request.key) {
    const std::string key = with_dot(*request.key);
    std::erase_if(out, [&](const std::string& prefix) { return prefix.rfind(key, 0) != 0; });
  }
  return out;
}

/// Most of the file first, where all fits; else fewest faults.
bool better(const Reading& a, const Reading& b) {
  const bool a_fits = !a.config.empty() && a.fit.faults() == 0,
             b_fits = !b.config.empty() && b.fit.faults() == 0;
  if (a_fits != b_fits) return a_fits;
  if (a.config.empty() != b.config.empty()) return b.config.empty();
  if (!a_fits && a.fit.faults() != b.fit.faults()) return a.fit.faults() < b.fit.faults();
  if (a.fit.matched != b.fit.matched) return a.fit.matched > b.fit.matched;
  if (secondness(a.prefix) != secondness(b.prefix)) return secondness(a.prefix) < secondness(b.prefix);
  if (a.named != b.named) return a.named;
  if ((a.entry == nullptr) != (b.entry == nullptr)) return a.entry != nullptr;
  const auto strange = [](const Reading& r) {
    return r.entry == nullptr || r.entry->naming.empty() ? 1 : r.entry->naming == r.renames->naming ? 0 : 2;
  };
  return strange(a) < strange(b);
}

}  // namespace

std::vector<Reading> tell(const TensorIndex& index, const TellRequest& request) {
  std::vector<Reading> out;
  std::vector<Attempt> attempts;
  for (const Family* family : families()) {
    if (request.family != nullptr && request.family != family) continue;
    if (request.model != nullptr && request.model->family != family->name) continue;
    const std::string anchor = family->anchor(*family);
    if (anchor.empty()) continue;
    for (const Renames& renames : renames_of(family->name))
      for (std::string& prefix : prefixes_for(index, request, anchor, renames)) {
        attempts.emplace_back(index, request, *family, renames, std::move(prefix));
        Reading reading;
        try {
          if (attempts.back().read(reading)) out.push_back(std::move(reading));
        } catch (const Error& error) {  // the caller's fields are none of this family's
          if (request.option.empty()) throw;
          reading.config.clear();
          reading.why = error.what();
          out.push_back(std::move(reading));
        }
      }
  }
  std::stable_sort(out.begin(), out.end(), better);
  const bool read = !out.empty() && (!out[0].config.empty() || !out[0].rivals.empty());
  // A tensor too many or too few is said of what the file is; a registered variant can only be farther.
  const bool near = read && kFarOff * out[0].fit.faults() <= out[0].fit.matched;
  if (near || request.model != nullptr) return out;
  for (const Attempt& attempt : attempts) {
    if (!request.option.empty()) break;
    Reading reading;
    attempt.read_nearest(reading);
    if (!reading.config.empty() && reading.fit.matched > 0) out.push_back(std::move(reading));
  }
  std::stable_sort(out.begin(), out.end(), better);
  return out;
}

}  // namespace locant
