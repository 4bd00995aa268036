#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <sstream>
#include <type_traits>

#include "core/config/schema.h"
#include "tests/catch.h"
#include "tests/core/config/helpers.h"

using namespace seq1f1b::config;

namespace {

// Legal values anywhere in a field's range, and texts of all kinds.
class RandomConfig {
 public:
  explicit RandomConfig(unsigned seed) : random_(seed) {}

  Config make() {
    Config config;
    for (const Field& field : schema()) {
      do {
        std::visit([&](auto* member) { fill(field, *member); }, field.member(config));
      } while (!value_problem(field, config).empty() || has_blank(field, config));
    }
    return config;
  }

 private:
  template <class Value>
  void fill(const Field& field, Value& value) {
    if constexpr (std::is_same_v<Value, std::string>) {
      value = field.allowed.empty() ? text() : field.allowed[random_() % field.allowed.size()];
    } else if constexpr (std::is_same_v<Value, double>) {
      value = std::ldexp(static_cast<double>(random_()), -64 - static_cast<int>(random_() % 40));
    } else if constexpr (std::is_same_v<Value, std::vector<std::string>> ||
                         std::is_same_v<Value, std::vector<std::int64_t>>) {
      value.resize(random_() % 4);
      for (auto& element : value) fill(field, element);
    } else {
      value = static_cast<Value>(random_() >> (random_() % 64));
    }
  }

  // Which cannot be loaded: a text that is not set is left open, and nothing but spaces is no text.
  static bool has_blank(const Field& field, const Config& config) {
    const auto blank = [](const std::string& text) {
      return !text.empty() && text.find_first_not_of(" \t\r\n") == std::string::npos;
    };
    const ConstMember value = field.value(config);
    if (const auto* text = std::get_if<const std::string*>(&value))
      return blank(**text) || ((*text)->empty() && value_text(field, Config()) != "\"\"");
    const auto* list = std::get_if<const std::vector<std::string>*>(&value);
    return list && std::ranges::any_of(**list, [&](const std::string& text) {
             return text.empty() || blank(text);
           });
  }

  std::string text() {
    constexpr std::string_view kCharacters = "abz019 _-./:#'\"\\{}[],&*!|>%@`~?\n\t\x01";
    std::string result;
    for (auto size = random_() % 12; size > 0; --size)
      result += kCharacters[random_() % kCharacters.size()];
    return random_() % 4 == 0 ? result + "é" : result;
  }

  std::mt19937_64 random_;
};

}  // namespace

TEST_CASE("a printed configuration loads as the same configuration") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Config config = RandomConfig(seed).make();
    const std::string yaml = to_yaml(config);
    CAPTURE(seed, yaml);
    const Config read = load_text(yaml, "run.yaml", {}).config;
    for (const Field& field : schema()) {
      CAPTURE(field.name());
      const bool same = std::visit(
          [](const auto* a, const auto* b) {
            if constexpr (std::is_same_v<decltype(a), decltype(b)>)
              return *a == *b;
            else
              return false;
          },
          field.value(config), field.value(read));
      REQUIRE(same);
    }
  }
}

TEST_CASE("origins are printed as comments that change nothing") {
  const Loaded loaded = resolved({"model.num_layers=3", "checkpoint.directory=a # b"});
  const std::string yaml = to_yaml(loaded.config, &loaded.origins);
  CHECK(yaml.find("  # command line\n") != std::string::npos);
  CHECK(yaml.find("  # family gpt3\n") != std::string::npos);
  CHECK(to_yaml(load_text(yaml, "run.yaml", {}).config) == to_yaml(loaded.config));
}

TEST_CASE("the schema names every member once, describes it, and has a legal default") {
  // Every member has its own row: the slots of all rows lie at different places, and together fill
  // the structs but for padding.
  Config config;
  std::set<const void*> places;
  std::set<std::string> names;
  std::size_t bytes = 0;
  for (const Field& field : schema()) {
    CAPTURE(field.name());
    CHECK(names.insert(field.name()).second);
    CHECK(field.help.size() > 5);
    CHECK(value_problem(field, config).empty());
    std::visit(
        [&](auto* member) {
          CHECK(places.insert(member).second);
          bytes += sizeof *member;
        },
        field.member(config));
  }
  CHECK(bytes <= sizeof config);
  CHECK(sizeof config - bytes < section_names().size() * sizeof(double));
}

TEST_CASE("names of other programs lead to one key each within a section") {
  std::set<std::string> names;
  for (const Field& field : schema()) {
    names.insert(field.name());
    for (const std::string& alias : field.aliases) {
      CAPTURE(field.name(), alias);
      CHECK(find_field(field.section, alias) == nullptr);
      CHECK(names.insert(field.section + "." + alias).second);
    }
  }
}

TEST_CASE("help shows one section or all, and refuses others") {
  std::ostringstream all, one;
  print_help(all);
  print_help(one, "schedule");
  for (const Field& field : schema()) CHECK(all.str().find(field.key) != std::string::npos);
  CHECK(one.str().find("schedule:\n") == 0);
  CHECK(one.str().find("even | flops | authors") != std::string::npos);
  CHECK(one.str().find("num_layers") == std::string::npos);
  CHECK(config_error([&] { print_help(one, "shedule"); }).find("there is no section 'shedule'") ==
        0);
}
