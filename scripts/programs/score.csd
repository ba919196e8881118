<CsoundSynthesizer>
<CsOptions>
-n -d -m0
</CsOptions>
<CsInstruments>
sr = 44100
ksmps = 64
nchnls = 2
0dbfs = 1
instr 1
  kenv linseg 0, 0.01, 0.2, p3 - 0.02, 0
  asig oscili kenv, p4
  adel delay asig, 0.05
  outs asig, adel
endin
instr 2
  until p4 >= 6000 do
    schedule 1, p4 * 0.01, 0.2, 100 + p4 % 800
    p4 += 1
  od
endin
</CsInstruments>
<CsScore>
i 2 0 1 0
e 62
</CsScore>
</CsoundSynthesizer>
