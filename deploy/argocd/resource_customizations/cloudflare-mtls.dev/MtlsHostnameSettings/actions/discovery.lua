local actions = {}
local suspended = obj.spec ~= nil and obj.spec.suspend == true
actions["refresh"] = { disabled = suspended }
return actions
