// What the compiler is given in run-programs.sh and time-programs.sh: many templates.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>
template <int N> struct Chain { using type = std::tuple<std::map<std::string, std::vector<typename Chain<N - 1>::type>>, std::unique_ptr<int[]>>; };
template <> struct Chain<0> { using type = int; };
template <int... Is> int all(std::integer_sequence<int, Is...>) { return (static_cast<int>(sizeof(typename Chain<Is % 9>::type)) + ...); }
int main() {
    std::unordered_map<std::string, std::function<int(int)>> f;
    f["a"] = [](int x) { return x + 1; };
    std::regex r("(a|b)*c");
    typename Chain<7>::type chain;
    return std::regex_match("ababc", r) ? all(std::make_integer_sequence<int, 40>()) + f["a"](1) + static_cast<int>(std::get<0>(chain).size()) & 127 : 1;
}
