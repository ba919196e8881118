create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
  insert into t select i, printf('name %d', i * 7919 % 200000), i * 0.25 from n;
create index by_name on t(name);
delete from t where id % 3 = 0;
update t set name = name || ' again' where id % 5 = 0;
select count(*), sum(value), min(name), max(name) from t;
select substr(name, 1, 6) as s, count(*) from t group by s order by 2 desc, 1 limit 5;
vacuum;
pragma integrity_check;
