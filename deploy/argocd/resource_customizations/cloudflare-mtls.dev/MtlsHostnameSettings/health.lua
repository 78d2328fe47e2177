-- Argo CD runs this with `base`, `table` and `package` alone unless it is told otherwise: no `string`, no `math`.
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local function health(status, condition)
  return { status = status, message = condition.reason .. ": " .. condition.message }
end

-- Argo CD itself says "Pending deletion" of whatever is being deleted, and asks here only where a hook holds it.
local ready = conditions["Ready"]
if obj.metadata.deletionTimestamp ~= nil then
  if ready == nil then
    return { status = "Progressing", message = "Pending deletion" }
  end
  return health("Progressing", ready)
end

-- What the status says of a former generation is no news of this one.
if ready == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to look at this generation" }
end

-- `Stalled`, `Reconciling` and `Suspended` are there only while they are true.
if conditions["Stalled"] ~= nil then
  return health("Degraded", conditions["Stalled"])
end
if conditions["Reconciling"] ~= nil then
  return health("Progressing", conditions["Reconciling"])
end
if conditions["Suspended"] ~= nil then
  return health("Suspended", conditions["Suspended"])
end
if ready.status == "True" then
  return health("Healthy", ready)
end
-- Drift that `Warn` and `Observe` leave alone: nobody is at work on it.
return health("Degraded", ready)
