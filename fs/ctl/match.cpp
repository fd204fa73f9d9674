#include "fs/ctl/match.hpp"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

namespace proc9::ctl {
namespace {

using core::fail;
using core::Result;
using Kind = Parameter::Kind;
using Json = nlohmann::json;

std::string key_of(std::string_view name) {
    std::string key(name);
    std::transform(key.begin(), key.end(), key.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return key;
}

std::vector<const Command*> forms_of(std::string_view name) {
    std::vector<const Command*> forms;
    for (const auto& command : commands()) {
        if (command.name == name) forms.push_back(&command);
    }
    return forms;
}

core::Error unknown_command(std::string_view name) {
    std::vector<std::string_view> names;
    for (const auto& command : commands()) names.push_back(command.name);
    const auto near = core::nearest(name, names);
    return fail(std::errc::invalid_argument, "unknown command {}{}", core::requote(name),
                near.empty() ? "; `help` lists them"
                             : fmt::format("; did you mean {}?", core::requote(near)));
}

core::Error wrong_usage(const std::vector<const Command*>& forms) {
    std::string text;
    for (const Command* form : forms) text += (text.empty() ? "" : ", or ") + usage(*form);
    return fail(std::errc::invalid_argument, "usage: {}", text);
}

// Reads words by the parameters of one form; says no when they do not fit.
class Reader {
public:
    explicit Reader(const core::Words& words) : words_(words) {}

    bool take(const Parameter& parameter) {
        switch (parameter.kind) {
            case Kind::none: return true;
            case Kind::word: return !done() && store(parameter.name);
            case Kind::literal: return is(parameter.name) && skip();
            case Kind::optional: return done() || store(parameter.name);
            case Kind::flag: return !is(parameter.name) || store(parameter.name);
            case Kind::keyword:
                return !is(parameter.name) || (skip() && !done() && store(parameter.name));
            case Kind::assign: return take_assignment(parameter.name);
            case Kind::rest:
                for (; !done(); ++at_) arguments.append(words_[at_]);
                return true;
        }
        return false;
    }
    [[nodiscard]] bool done() const {
        return at_ >= words_.size() || assigned_.size() == words_.size() - at_;
    }

    Arguments arguments;

private:
    [[nodiscard]] bool is(std::string_view name) const { return !done() && words_[at_] == name; }
    bool skip() {
        ++at_;
        return true;
    }
    bool store(std::string_view name) {
        arguments.set(key_of(name), words_[at_++]);
        return true;
    }
    // In any order among the words that are left.
    bool take_assignment(std::string_view name) {
        for (std::size_t i = at_; i < words_.size(); ++i) {
            const std::string& word = words_[i];
            if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=') {
                if (!assigned_.insert(i).second || arguments.has(name)) return false;
                arguments.set(name, word.substr(name.size() + 1));
            }
        }
        return true;
    }

    const core::Words& words_;
    std::size_t at_ = 1;
    std::set<std::size_t> assigned_;
};

// Values of commands are flat, and libraries for JSON recurse.
bool is_too_deep(std::string_view line) {
    constexpr int most = 4;
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < line.size() && depth <= most; ++i) {
        if (line[i] == '"') in_string = !in_string;
        if (in_string && line[i] == '\\') ++i;
        if (in_string) continue;
        depth += (line[i] == '[' || line[i] == '{') ? 1 : 0;
        depth -= (line[i] == ']' || line[i] == '}') ? 1 : 0;
    }
    return depth > most;
}

Result<std::string> text_of(const Json& value) {
    if (value.is_string()) return core::checked_word(value.get<std::string>());
    if (value.is_number_unsigned()) return std::to_string(value.get<std::uint64_t>());
    if (value.is_boolean()) return std::string(value.get<bool>() ? "on" : "off");
    return fail(std::errc::invalid_argument, "{} is neither a string nor a number", value.dump());
}

bool is_operation(const Json& object, std::string_view name) {
    const auto operation = object.find("op");
    return (operation != object.end() && *operation == name) ||
           (object.contains(name) && object.find("op") == object.end() &&
            object[std::string(name)] == true);
}

// Takes from the object what one form wants; false when a form does not fit.
Result<bool> take_json(const Parameter& parameter, Json& object, Arguments& arguments) {
    const std::string key = key_of(parameter.name);
    if (parameter.kind == Kind::literal) {
        if (!is_operation(object, parameter.name)) return false;
        object.erase("op");
        object.erase(key);
        return true;
    }
    if (parameter.kind == Kind::rest) {
        for (const std::string& name : {key, std::string("args")}) {
            if (!object.contains(name)) continue;
            if (!object[name].is_array())
                return fail(std::errc::invalid_argument, "{} is not an array", name);
            for (const auto& item : object[name]) arguments.append(TRY(text_of(item)));
            object.erase(name);
        }
        return true;
    }
    if (const auto equals = key.find('='); equals != std::string::npos) {  // "name", "value"
        const std::string left = key.substr(0, equals);
        const std::string right = key.substr(equals + 1);
        if (!object.contains(left) || !object.contains(right)) return false;
        arguments.set(key, TRY(text_of(object[left])) + '=' + TRY(text_of(object[right])));
        object.erase(left);
        object.erase(right);
        return true;
    }
    const auto found = object.find(key);
    if (found == object.end()) return parameter.kind != Kind::word;
    const bool is_off = parameter.kind == Kind::flag && *found == false;
    if (!is_off) arguments.set(key, TRY(text_of(*found)));
    object.erase(key);
    return true;
}

Result<std::optional<Match>> match_form(const Command& form, Json object) {
    Match match{&form, {}};
    for (const auto& parameter : form.parameters) {
        if (parameter.kind == Kind::none) break;
        if (!TRY(take_json(parameter, object, match.arguments))) return std::optional<Match>{};
    }
    if (!object.empty()) return std::optional<Match>{};
    return std::optional(std::move(match));
}

}  // namespace

Result<Match> match_words(const core::Words& words) {
    const auto forms = forms_of(words.front());
    if (forms.empty()) return unknown_command(words.front());
    for (const Command* form : forms) {
        Reader reader(words);
        const bool fits =
            std::all_of(form->parameters.begin(), form->parameters.end(),
                        [&](const auto& parameter) { return reader.take(parameter); });
        if (fits && reader.done()) return Match{form, std::move(reader.arguments)};
    }
    return wrong_usage(forms);
}

Result<Match> match_json(std::string_view line) {
    if (is_too_deep(line))
        return fail(std::errc::invalid_argument, "the object is nested too deep");
    Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) return fail(std::errc::invalid_argument, "not a JSON object");
    const auto name = object.find("cmd");
    if (name == object.end() || !name->is_string())
        return fail(std::errc::invalid_argument, "no \"cmd\" with a command's name");
    const auto command = name->get<std::string>();
    const auto forms = forms_of(command);
    if (forms.empty()) return unknown_command(command);
    object.erase("cmd");
    for (const Command* form : forms) {
        if (auto match = TRY(match_form(*form, object))) return std::move(*match);
    }
    return wrong_usage(forms);
}

}  // namespace proc9::ctl
