-- A game-like simulation: particles in tables, of which many are replaced in every frame.
local seed = 1
local function random(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % n
end
local particles = {}
for frame = 1, 120 do
    for _ = 1, 1500 do
        particles[#particles + 1] = {
            x = random(1000), y = random(1000), v = { random(7) - 3, random(7) - 3 },
            left = 20 + random(40), name = "particle " .. random(5000),
        }
    end
    local alive = {}
    for _, p in ipairs(particles) do
        p.x, p.y, p.left = p.x + p.v[1], p.y + p.v[2], p.left - 1
        if p.left > 0 then alive[#alive + 1] = p end
    end
    particles = alive
end
print(#particles, particles[1].name, collectgarbage("count") > 0)
