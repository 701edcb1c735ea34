-- Stands before each script of a namespace, as one line. It hides `redis`, `KEYS` and what would lead around them: what
-- the script calls gets the tag before its keys, and what it gets back has none. @COMMANDS@ says where keys are:
-- `;name=first.last.step/...` (a negative last counts from the end), `#n.step` for keys that argument n counts, `s` for what
-- follows STREAMS, `o` for STORE and STOREDIST, `!f` and `!s` for replies with keys, `f` for commands without keys,
-- `c` for commands with subcommands. The last argument is the tag behind 0 or 1 (no keys, or keys), and behind 2 or 3 and the
-- tag of channels where the namespace has its own. INFO is given without the lines of databases, which count everybody's keys.
local redis,server,KEYS,ARGV,_G,loadstring,load,getfenv,setfenv,rawset=(function()
local G,R,K,A,S=_G,redis,KEYS,ARGV,'@COMMANDS@'
local sub,find,lower,match,gmatch,gsub=string.sub,string.find,string.lower,string.match,string.gmatch,string.gsub
local type,tostring,tonumber,error,unpack,select,ipairs,put,floor=type,tostring,tonumber,error,unpack,select,ipairs,rawset,math.floor
local min,format=math.min,string.format
local mark=A[#A]
A[#A]=nil
local kind,p,q=sub(mark,1,1),sub(mark,2)
if kind>'1' then q,p=match(p,'^(%b{})(.*)$') end
local n=#p
if kind=='0' or kind=='2' then K[1]=nil else for i=1,#K do K[i]=sub(K[i],n+1) end end
local function fail(f,text)
if f==R.pcall then return {err=text} end
error({err=text})
end
local function behind(t,k)
if type(k)=='number' then k=format('%.17g',k) end
return t..k
end
local function full(k) return behind(p,k) end
local function bare(k)
if type(k)=='string' and sub(k,1,n)==p then return sub(k,n+1) end
return k
end
local function keys(f,pattern)
local r=f('KEYS',p..pattern)
if not r.err then for i=1,#r do r[i]=sub(r[i],n+1) end end
return r
end
local whole={
keys=function(f,a) return keys(f,a[2]) end,
dbsize=function(f,a) return #keys(f,'*') end,
randomkey=function(f,a) return keys(f,'*')[1] or false end,
flushdb=function(f,a)
for _,k in ipairs(keys(f,'*')) do R.call('UNLINK',p..k) end
return {ok='OK'}
end,
scan=function(f,a)
local c={'SCAN',a[2],'MATCH',p..'*'}
for i=3,#a-1,2 do
if lower(a[i])=='match' then c[4]=p..a[i+1] else c[#c+1]=a[i] c[#c+1]=a[i+1] end
end
local r=f(unpack(c))
if not r.err then for i=1,#r[2] do r[2][i]=bare(r[2][i]) end end
return r
end}
whole.flushall=whole.flushdb
local function bared(r) return gsub(r,'\ndb%d[^\n]*','')..'' end
whole.info=function(f,a)
local r=f(unpack(a))
if type(r)=='string' then return bared(r) end
local v=type(r)=='table' and r.verbatim_string
if v then v.string=bared(v.string) end
return r
end
whole.publish=function(f,a)
if q and (type(a[2])=='string' or type(a[2])=='number') then a[2]=behind(q,a[2]) end
return f(unpack(a))
end
whole.spublish=whole.publish
local function spec(name)
local _,e=find(S,';'..name..'=',1,true)
return e and match(S,'^[^;]*',e+1)
end
local function tag(a,c,part)
local first,last,step=match(part,'^(%d+)%.(%-?%d+)%.(%d+)$')
if first then
last=tonumber(last)
if last<0 then last=c+last+1 else last=min(last+1,c) end
for i=first+1,last,step do a[i]=full(a[i]) end
return
end
local at,by=match(part,'^#(%d+)%.(%d+)')
if at then
local i=at+2
for _=1,tonumber(a[at+1]) or 0 do
if i>c then return end
a[i]=full(a[i])
i=i+by
end
return
end
for i=2,c-1 do
local word=lower(tostring(a[i]))
if part=='s' and word=='streams' then
for j=i+1,i+floor((c-i)/2) do a[j]=full(a[j]) end
return
elseif part=='o' and i>2 and (word=='store' or word=='storedist') then a[i+1]=full(a[i+1]) end
end
end
local function run(f,...)
local c,a=select('#',...),{...}
if c==0 or type(a[1])~='string' then return f(...) end
local name=lower(a[1])
local w=spec(name)
if w=='1.1.1' then
if c<2 then return fail(f,'ERR Wrong number of args calling Redis command from script') end
if type(a[2])~='string' and type(a[2])~='number' then return fail(f,'ERR Lua redis lib command arguments must be strings or integers') end
a[2]=full(a[2])
return f(unpack(a,1,c))
end
if whole[name] then
if c<2 and (name=='keys' or name=='scan') then return fail(f,'ERR Wrong number of args calling Redis command from script') end
return whole[name](f,a)
end
if w=='c' then w=spec(name..'|'..lower(tostring(a[2]))) end
if not w then return fail(f,"ERR command '"..name.."' is not served to scripts of a namespace") end
if w=='f' then return f(...) end
local told=match(w,'!(.)')
for i=1,c do if type(a[i])~='string' and type(a[i])~='number' then return fail(f,'ERR Lua redis lib command arguments must be strings or integers') end end
for part in gmatch(match(w,'^[^!]*'),'[^/]+') do tag(a,c,part) end
local r=f(unpack(a,1,c))
if told and type(r)=='table' and not r.err then
if told=='f' then r[1]=bare(r[1]) else
for _,e in ipairs(r) do if type(e)=='table' then e[1]=bare(e[1]) end end
end
end
return r
end
local r=setmetatable({call=function(...) return run(R.call,...) end,pcall=function(...) return run(R.pcall,...) end},{__index=R,__metatable=false})
local hidden={loadstring=1,load=1,getfenv=1,setfenv=1,rawset=1,dofile=1,loadfile=1,require=1,debug=1}
local g=setmetatable({redis=r,server=r,KEYS=K,ARGV=A},{__index=function(_,k) if not hidden[k] then return G[k] end end,__metatable=false,__newindex=function() error('Attempt to modify a readonly table') end})
put(g,'_G',g)
return r,r,K,A,g
end)()
